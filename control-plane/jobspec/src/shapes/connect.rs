//! `connect` of a service: understood in full, though nothing acts on it.

use crate::shape::{
    Field, Kind, Parsed, Shape, Stored, field_json, flag, int, kept_texts, many, nullable, one, optional_duration,
    text, texts,
};
use crate::shapes::task::{IDENTITY, LOGS, RESOURCES, VOLUME_MOUNT};

/// `connect { ... }`.
pub static CONNECT: Shape = Shape::plain(&[
    flag("native", "Native"),
    one("gateway", "Gateway", &GATEWAY),
    one("sidecar_service", "SidecarService", &SIDECAR_SERVICE),
    one("sidecar_task", "SidecarTask", &SIDECAR_TASK),
]);

static SIDECAR_SERVICE: Shape = Shape::plain(&[
    texts("tags", "Tags"),
    text("port", "Port"),
    one("proxy", "Proxy", &PROXY),
    flag("disable_default_tcp_check", "DisableDefaultTCPCheck"),
    nullable("meta", "Meta", Kind::TextMapBlock),
]);

/// `proxy { ... }` of a sidecar.
pub static PROXY: Shape = Shape::plain(&[
    text("local_service_address", "LocalServiceAddress"),
    int("local_service_port", "LocalServicePort"),
    one("expose", "Expose", &EXPOSE),
    Field { stored: Stored::Gone, ..one("", "ExposeConfig", &EXPOSE) },
    many("upstreams", "Upstreams", &UPSTREAM),
    one("transparent_proxy", "TransparentProxy", &TRANSPARENT_PROXY),
    nullable("config", "Config", Kind::Opaque),
]);

static EXPOSE: Shape = Shape::plain(&[
    many("path", "Paths", &EXPOSE_PATH).stored(Stored::EmptyList),
    Field { stored: Stored::Gone, ..many("", "Path", &EXPOSE_PATH) },
]);

static EXPOSE_PATH: Shape = Shape::plain(&[
    text("path", "Path"),
    text("protocol", "Protocol"),
    int("local_path_port", "LocalPathPort"),
    text("listener_port", "ListenerPort"),
]);

static UPSTREAM: Shape = Shape::plain(&[
    text("destination_name", "DestinationName"),
    text("destination_namespace", "DestinationNamespace"),
    text("destination_peer", "DestinationPeer"),
    text("destination_partition", "DestinationPartition"),
    text("destination_type", "DestinationType"),
    int("local_bind_port", "LocalBindPort"),
    text("datacenter", "Datacenter"),
    text("local_bind_address", "LocalBindAddress"),
    text("local_bind_socket_path", "LocalBindSocketPath"),
    text("local_bind_socket_mode", "LocalBindSocketMode"),
    one("mesh_gateway", "MeshGateway", &MESH_GATEWAY).stored(Stored::Zero),
    nullable("config", "Config", Kind::Opaque),
]);

static MESH_GATEWAY: Shape = Shape::plain(&[text("mode", "Mode")]);

static TRANSPARENT_PROXY: Shape = Shape::plain(&[
    text("uid", "UID"),
    int("outbound_port", "OutboundPort").within(0, 65_535),
    texts("exclude_inbound_ports", "ExcludeInboundPorts"),
    nullable("exclude_outbound_ports", "ExcludeOutboundPorts", Kind::IntList),
    texts("exclude_outbound_cidrs", "ExcludeOutboundCIDRs"),
    texts("exclude_uids", "ExcludeUIDs"),
    flag("no_dns", "NoDNS"),
]);

static SIDECAR_TASK: Shape = Shape::plain(&[
    text("name", "Name"),
    text("driver", "Driver"),
    text("user", "User"),
    nullable("config", "Config", Kind::Opaque),
    nullable("env", "Env", Kind::TextMapBlock),
    one("resources", "Resources", &RESOURCES),
    nullable("meta", "Meta", Kind::TextMapBlock),
    optional_duration("kill_timeout", "KillTimeout").stored(Stored::Int(5_000_000_000)),
    one("logs", "LogConfig", &LOGS).stored(Stored::Zero),
    optional_duration("shutdown_delay", "ShutdownDelay"),
    text("kill_signal", "KillSignal"),
    many("volume_mount", "VolumeMounts", &VOLUME_MOUNT),
    many("identity", "Identities", &IDENTITY),
]);

static GATEWAY: Shape = Shape::plain(&[
    one("proxy", "Proxy", &GATEWAY_PROXY),
    one("ingress", "Ingress", &INGRESS),
    one("terminating", "Terminating", &TERMINATING),
    one("mesh", "Mesh", &MESH),
]);

static GATEWAY_PROXY: Shape = Shape::plain(&[
    optional_duration("connect_timeout", "ConnectTimeout").stored(Stored::Int(5_000_000_000)),
    flag("envoy_gateway_bind_tagged_addresses", "EnvoyGatewayBindTaggedAddresses"),
    nullable("envoy_gateway_bind_addresses", "EnvoyGatewayBindAddresses", Kind::Named(&BIND_ADDRESS))
        .stored(Stored::EmptyMap),
    flag("envoy_gateway_no_default_bind", "EnvoyGatewayNoDefaultBind"),
    text("envoy_dns_discovery_type", "EnvoyDNSDiscoveryType"),
    nullable("config", "Config", Kind::Opaque),
]);

static BIND_ADDRESS: Shape = Shape::labelled(
    "Name",
    &[
        field_json("Name", Kind::Text, Parsed::Zero).stored(Stored::Gone),
        text("address", "Address"),
        int("port", "Port"),
    ],
);

static INGRESS: Shape = Shape::plain(&[one("tls", "TLS", &GATEWAY_TLS), many("listener", "Listeners", &LISTENER)]);

static GATEWAY_TLS: Shape = Shape::plain(&[
    flag("enabled", "Enabled"),
    text("tls_min_version", "TLSMinVersion"),
    text("tls_max_version", "TLSMaxVersion"),
    texts("cipher_suites", "CipherSuites"),
    one("sds", "SDS", &SDS),
]);

static SDS: Shape = Shape::plain(&[text("cluster_name", "ClusterName"), text("cert_resource", "CertResource")]);

static LISTENER: Shape = Shape::plain(&[
    int("port", "Port"),
    text("protocol", "Protocol").stored(Stored::TextOrEmpty("tcp")),
    many("service", "Services", &INGRESS_SERVICE),
]);

const LIMIT: Kind = Kind::Int(0, u32::MAX as i64);

static INGRESS_SERVICE: Shape = Shape::plain(&[
    text("name", "Name"),
    kept_texts("hosts", "Hosts"),
    one("tls", "TLS", &GATEWAY_TLS),
    one("request_headers", "RequestHeaders", &HEADERS),
    one("response_headers", "ResponseHeaders", &HEADERS),
    nullable("max_connections", "MaxConnections", LIMIT),
    nullable("max_pending_requests", "MaxPendingRequests", LIMIT),
    nullable("max_concurrent_requests", "MaxConcurrentRequests", LIMIT),
]);

static HEADERS: Shape = Shape::plain(&[
    nullable("add", "Add", Kind::TextMapBlock).stored(Stored::KeepEmpty),
    nullable("set", "Set", Kind::TextMapBlock).stored(Stored::KeepEmpty),
    kept_texts("remove", "Remove"),
]);

static TERMINATING: Shape = Shape::plain(&[many("service", "Services", &LINKED_SERVICE)]);

static LINKED_SERVICE: Shape = Shape::plain(&[
    text("name", "Name"),
    text("ca_file", "CAFile"),
    text("cert_file", "CertFile"),
    text("key_file", "KeyFile"),
    text("sni", "SNI"),
]);

static MESH: Shape = Shape::plain(&[]);
