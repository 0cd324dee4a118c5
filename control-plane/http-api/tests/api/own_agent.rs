//! What is asked of one agent: its log, its host, its configuration.

use std::sync::{Arc, Mutex};

use drover_http_api::relay::Relaying;
use drover_http_api::{AgentControl, Forwarder, LogWanted, Reloading, ServeOptions, relay, serve};
use drover_model::NodeId;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::support::{Answer, api, ask, start};

/// An agent that has said two lines, and does what it is told once.
struct Played {
    is_debug: bool,
    asked: Mutex<Vec<LogWanted>>,
    reloads: Mutex<Vec<Result<(), String>>>,
}

impl AgentControl for Played {
    fn follow_log(&self, wanted: LogWanted) -> Option<mpsc::Receiver<String>> {
        self.asked.lock().unwrap().push(wanted);
        if wanted.level == tracing::Level::ERROR {
            return None;
        }
        let (lines, followed) = mpsc::channel(2);
        ["one\n", "two\n"].into_iter().for_each(|line| lines.try_send(line.to_owned()).unwrap());
        Some(followed)
    }

    fn reload(&self) -> Reloading {
        let result = self.reloads.lock().unwrap().pop().unwrap();
        Box::pin(async { result })
    }

    fn is_debug(&self) -> bool {
        self.is_debug
    }
}

fn played(is_debug: bool) -> Arc<Played> {
    let reloads = Mutex::new(vec![Err("log_level: unknown".to_owned()), Ok(())]);
    Arc::new(Played { is_debug, asked: Mutex::default(), reloads })
}

#[tokio::test]
async fn an_agent_is_asked_for_its_log_its_host_and_its_configuration() {
    let running = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, agent) = (listener.local_addr().unwrap(), played(true));
    let (stop, stopped) = oneshot::channel::<()>();
    let api = api(&running.server).with_control(agent.clone());
    let serving = tokio::spawn(serve(listener, api, ServeOptions::default(), async {
        let _ = stopped.await;
    }));
    let get = async |path: &str| ask(address, "GET", path, &[], "").await;
    let refused = |answer: Answer| (answer.status, answer.body);

    let plain = get("/v1/agent/monitor?plain=true&log_level=debug&log_json=true").await;
    assert_eq!((plain.status, plain.body.as_str(), plain.header("content-type")), (200, "one\ntwo\n", "text/plain"));
    let framed = get("/v1/agent/monitor").await;
    let frames = serde_json::Deserializer::from_str(&framed.body).into_iter::<Value>();
    let frames: Vec<Value> = frames.map(Result::unwrap).collect();
    // Base64 of the lines, and where they end.
    let expected = [json!({}), json!({ "Data": "b25lCg==", "Offset": 4 }), json!({ "Data": "dHdvCg==", "Offset": 8 })];
    assert_eq!(frames, expected);
    let wanted = |level, json| LogWanted { level, json };
    let asked = agent.asked.lock().unwrap().clone();
    assert_eq!(asked, [wanted(tracing::Level::DEBUG, true), wanted(tracing::Level::INFO, false)]);
    for (query, status, text) in [
        ("log_level=zz", 400, "Unknown log level: zz"),
        ("log_level=3", 400, "Unknown log level: 3"),
        ("server_id=nope", 400, "unknown Nomad server nope"),
        ("server_id=a&node_id=b", 400, "Cannot target node and server simultaneously"),
        ("log_level=error", 500, "too many follow the log of this agent already"),
    ] {
        assert_eq!(refused(get(&format!("/v1/agent/monitor?{query}")).await), (status, text.to_owned()));
    }
    let elsewhere = get(&format!("/v1/agent/monitor?node_id={}", NodeId::from_random([9; 16]))).await;
    assert!(elsewhere.status == 500 && elsewhere.body.contains("where it is asked itself"), "{elsewhere:?}");

    // By its name, by its id, or as the leader: it is the one that is asked.
    let own = running.server.info().clone();
    for server in [own.name.as_str(), own.id.as_str(), "leader"] {
        let host = get(&format!("/v1/agent/host?server_id={server}")).await.json();
        assert_eq!(host["AgentID"], own.id.as_str());
        assert!(host["HostData"]["OS"].as_str().unwrap().contains("Linux"), "{host}");
    }
    let host = get("/v1/agent/host").await.json();
    assert!(host["Environment"].is_object() && host["ResolvConf"].is_string() && host["Disk"].is_object(), "{host}");

    assert_eq!(refused(ask(address, "PUT", "/v1/agent/reload", &[], "").await), (200, String::new()));
    let failed = ask(address, "POST", "/v1/agent/reload", &[], "").await;
    assert_eq!(refused(failed), (500, "configuration not reloaded: log_level: unknown".to_owned()));
    assert_eq!(get("/v1/agent/reload").await.status, 405);
    let _ = stop.send(());
    serving.await.unwrap().unwrap();
    running.stop().await;
}

#[tokio::test]
async fn the_agent_of_a_client_answers_for_itself() {
    let running = start().await;
    let forwarder: Forwarder = Arc::new(|_| -> Relaying { panic!("nobody else is asked") });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, agent) = (listener.local_addr().unwrap(), played(false));
    let (stop, stopped) = oneshot::channel::<()>();
    let relaying = tokio::spawn(relay(listener, forwarder, Some(agent), ServeOptions::default(), async {
        let _ = stopped.await;
    }));
    assert_eq!(ask(address, "GET", "/v1/agent/monitor?plain=true", &[], "").await.body, "one\ntwo\n");
    assert_eq!(ask(address, "PUT", "/v1/agent/reload", &[], "").await.status, 200);
    // Not of its host, unless it was told that it may.
    let host = ask(address, "GET", "/v1/agent/host", &[], "").await;
    assert_eq!((host.status, host.body.as_str()), (403, "Permission denied"));
    let _ = stop.send(());
    relaying.await.unwrap().unwrap();
    running.stop().await;
}
