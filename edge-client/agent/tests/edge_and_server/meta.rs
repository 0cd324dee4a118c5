//! Metadata that people set while the node runs.

use std::collections::BTreeMap;

use drover_protocol::edge::{FromEdge, RpcError, ToEdge};
use drover_protocol::edge_node::NodeMeta;

use crate::server::FakeServer;
use crate::{config, end, run, started};

async fn ask(server: &FakeServer, request: ToEdge) -> NodeMeta {
    match server.ask(request).await.head().await {
        FromEdge::NodeMeta(meta) => *meta,
        other => panic!("{other:?}"),
    }
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn what_people_set_of_a_node_is_registered_and_kept() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        let fixed = texts(&[("rack", "r1"), ("zone", "a")]);
        let with_meta = |server: &FakeServer| {
            let mut config = config(dir.path(), server);
            config.meta.clone_from(&fixed);
            config
        };
        let edge = started(with_meta(&server)).await;
        assert_eq!(server.registered().await.meta, fixed);
        let nothing = NodeMeta { meta: fixed.clone(), dynamic: BTreeMap::new(), fixed: fixed.clone() };
        assert_eq!(ask(&server, ToEdge::ReadMeta).await, nothing);

        let dynamic = BTreeMap::from([("dyn".to_owned(), Some("x".to_owned())), ("rack".to_owned(), None)]);
        let meta = texts(&[("dyn", "x"), ("zone", "a")]);
        let expected = NodeMeta { meta: meta.clone(), dynamic: dynamic.clone(), fixed: fixed.clone() };
        assert_eq!(ask(&server, ToEdge::ApplyMeta { meta: dynamic.clone() }).await, expected);
        assert_eq!(server.registered().await.meta, meta, "on the connection that it has");
        let never = BTreeMap::from([("never".to_owned(), None)]);
        assert_eq!(ask(&server, ToEdge::ApplyMeta { meta: never }).await, expected, "there is nothing to hide");
        let no_name = BTreeMap::from([("a b".to_owned(), None)]);
        let answer = server.ask(ToEdge::ApplyMeta { meta: no_name }).await.head().await;
        assert!(matches!(answer, FromEdge::Refused(RpcError::Invalid { .. })), "{answer:?}");
        let too_much = BTreeMap::from([("big".to_owned(), Some("x".repeat(70_000)))]);
        let answer = server.ask(ToEdge::ApplyMeta { meta: too_much }).await.head().await;
        assert!(matches!(answer, FromEdge::Refused(RpcError::Invalid { .. })), "{answer:?}");

        edge.stop().await;
        let edge = started(with_meta(&server)).await;
        assert_eq!(server.registered().await.meta, meta);
        assert_eq!(ask(&server, ToEdge::ReadMeta).await, expected);
        end(edge, dir.path(), &server).await;
    });
}
