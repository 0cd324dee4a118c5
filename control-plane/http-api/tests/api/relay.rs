//! A client-only agent's API: requests travel to a server and answers back, with the server's own handler at the end.

use std::sync::Arc;

use drover_http_api::{Forwarder, ServeOptions, forward_handler, relay};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::support::{api, ask, job, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_handed_on_and_answers_come_back() {
    let running = start().await;
    running.register(job("web")).await;
    let handler = Arc::new(forward_handler(api(&running.server)));
    let forwarder: Forwarder = Arc::new(move |request| {
        let handler = Arc::clone(&handler);
        Box::pin(async move {
            let answer = handler(request).await;
            Ok((answer.head, answer.body))
        })
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let headers = [("X-Relayed".to_owned(), "yes".to_owned())].into();
    let options = ServeOptions::default().with_headers(&headers).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let relaying = tokio::spawn(relay(listener, forwarder, None, options, async {
        let _ = stopped.await;
    }));

    let answer = ask(address, "GET", "/v1/job/web?pretty", &[], "").await;
    assert_eq!((answer.status, &answer.json()["ID"]), (200, &json!("web")));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-relayed"), "yes");
    assert!(answer.index() > 0);
    let body = json!({ "Job": job("second") }).to_string();
    assert_eq!(ask(address, "PUT", "/v1/jobs", &[], &body).await.status, 200);
    assert_eq!(running.get("/v1/job/second").await.status, 200);
    assert_eq!(ask(address, "GET", "/v1/nosuch", &[], "").await.body, "no route for GET /v1/nosuch");
    assert_eq!(ask(address, "OPTIONS", "/v1/jobs", &[], "").await.header("allow"), "GET, PUT, POST");
    // The caller is not on the server's host, whatever address it has on its own.
    assert_eq!(ask(address, "PUT", "/v1/operator/join-token", &[], "{}").await.status, 403);

    let _ = stop.send(());
    relaying.await.unwrap().unwrap();
    running.stop().await;
}
