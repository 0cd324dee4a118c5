//! A service on loopback plays each cloud.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use super::*;

/// Answers by the request's first line and its head in lower case: status and text.
type Says = fn(&str, &str) -> (u16, String);

/// Serves until it is called with `/end`; gives its address.
fn serve(says: Says) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let Some((first, rest)) = head.split_first() else { continue };
            if first.contains("/end") {
                return;
            }
            let (status, text) = says(first.trim_end_matches(" HTTP/1.1"), &rest.join("\n").to_ascii_lowercase());
            let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        }
    });
    (url, serving)
}

/// What is found at a service, in pairs; none when it is an error.
fn found(cloud: &'static Cloud, path: &str, says: Says) -> Option<BTreeMap<String, String>> {
    let (url, serving) = serve(says);
    let told = |name: &str| (name == cloud.variable).then(|| format!("{url}{path}"));
    let (cloud, asked) = here(&[cloud.fingerprint], Path::new("/nonexistent"), told).unwrap();
    let found = look(cloud, asked).ok();
    let mut last = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    last.write_all(b"GET /end HTTP/1.1\r\n\r\n").unwrap();
    serving.join().unwrap();
    found
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[test]
fn the_firmware_says_which_cloud_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<&str> = names().collect();
    let check = |file: &str, text: &str, expected: Option<&str>| {
        std::fs::write(dir.path().join(file), text).unwrap();
        let found = here(&all, dir.path(), |_| None).map(|(cloud, _)| cloud.name);
        assert_eq!(found, expected, "{file}: {text}");
        std::fs::remove_file(dir.path().join(file)).unwrap();
    };
    check("sys_vendor", "Amazon EC2\n", Some("aws"));
    check("bios_version", "4.11.amazon\n", Some("aws"));
    check("product_name", "Google Compute Engine\n", Some("gce"));
    check("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n", Some("azure"));
    check("sys_vendor", "DigitalOcean\n", Some("digitalocean"));
    check("sys_vendor", "Microsoft Corporation\n", None);
    check("sys_vendor", "QEMU\n", None);
    let told = |name: &str| (name == "DO_ENV_URL").then(|| "http://h/v1".to_owned());
    assert!(here(&["env_aws", "env_gce"], dir.path(), told).is_none());
    let (cloud, url) = here(&all, dir.path(), told).unwrap();
    assert_eq!((cloud.name, url.as_str()), ("digitalocean", "http://h/v1/"));
}

#[test]
fn aws_is_asked_with_a_token() {
    let says: Says = |first, head| {
        let texts = [
            ("ami-id", "ami-1"),
            ("placement/availability-zone", "eu-central-1a"),
            ("instance-id", "i-42"),
            ("mac", "02:aa"),
            ("network/interfaces/macs/02:aa/ipv6s", "2001:db8::1\n2001:db8::2"),
        ];
        if first == "PUT /latest/api/token" && head.contains("x-aws-ec2-metadata-token-ttl-seconds: 60") {
            return (200, "secret".to_owned());
        }
        let path =
            first.strip_prefix("GET /latest/meta-data/").filter(|_| head.contains("x-aws-ec2-metadata-token: secret"));
        match texts.iter().find(|(name, _)| path == Some(*name)) {
            Some((_, text)) => (200, format!("{text}\n")),
            None => (404, "no".to_owned()),
        }
    };
    let expected = pairs([
        ("platform.aws.ami-id", "ami-1"),
        ("platform.aws.placement.availability-zone", "eu-central-1a"),
        ("unique.platform.aws.instance-id", "i-42"),
        ("unique.platform.aws.mac", "02:aa"),
        ("unique.platform.aws.public-ipv6", "2001:db8::1"),
    ]);
    assert_eq!(found(&aws::CLOUD, "/latest/meta-data/", says), Some(expected.clone()));
    // One that knows no tokens.
    let says: Says = |first, _| match first {
        "GET /latest/meta-data/instance-type" => (200, "t2.nano".to_owned()),
        "PUT /latest/api/token" => (405, String::new()),
        _ => (404, String::new()),
    };
    assert_eq!(found(&aws::CLOUD, "/latest/meta-data", says), Some(pairs([("platform.aws.instance-type", "t2.nano")])));

    let attributes = pairs([("kernel.name", "linux"), ("platform.aws.instance-type", "old")]);
    let mut node = Node { attributes, ..Node::default() };
    put(&mut node, &aws::CLOUD, &expected);
    assert_eq!((node.attributes.len(), node.links["aws.ec2"].as_str()), (6, "eu-central-1a.i-42"));
    let mut newer = Node { attributes: pairs([("kernel.name", "linux")]), ..Node::default() };
    carry_over(&mut newer, &node);
    assert_eq!((newer.attributes, newer.links), (node.attributes, node.links));
}

#[test]
fn gce_and_azure_say_all_at_once() {
    let says: Says = |first, head| {
        assert_eq!(
            (first, head.contains("metadata-flavor: google")),
            ("GET /computeMetadata/v1/instance/?recursive=true", true)
        );
        let answer = json!({
            "id": 5275398431984719876_u64, "hostname": "h.internal", "zone": "projects/1/zones/europe-west3-a",
            "machineType": "projects/1/machineTypes/n1-standard-1", "cpuPlatform": "Intel Ivy Bridge",
            "scheduling": {"automaticRestart": "TRUE", "preemptible": "FALSE"},
            "networkInterfaces": [{"network": "projects/1/networks/default", "ip": "10.0.0.7", "accessConfigs": [{"externalIp": "192.0.2.1"}]}],
            "tags": ["web", "unique.one"],
            "attributes": {"team": "blue", "startup-script": "#!/bin/sh\necho secret", "long": "x".repeat(5000)},
        });
        (200, answer.to_string())
    };
    let expected = pairs([
        ("unique.platform.gce.id", "5275398431984719876"),
        ("unique.platform.gce.hostname", "h.internal"),
        ("platform.gce.zone", "europe-west3-a"),
        ("platform.gce.machine-type", "n1-standard-1"),
        ("platform.gce.cpu-platform", "Intel Ivy Bridge"),
        ("platform.gce.scheduling.automatic-restart", "TRUE"),
        ("platform.gce.scheduling.preemptible", "FALSE"),
        ("platform.gce.network.default", "true"),
        ("unique.platform.gce.network.default.ip", "10.0.0.7"),
        ("unique.platform.gce.network.default.external-ip.0", "192.0.2.1"),
        ("platform.gce.tag.web", "true"),
        ("unique.platform.gce.tag.one", "true"),
        ("platform.gce.attr.team", "blue"),
    ]);
    assert_eq!(found(&gce::CLOUD, "/computeMetadata/v1/instance/", says), Some(expected));

    let says: Says = |first, head| {
        assert!(head.contains("metadata: true"), "{head}");
        let answer = match first {
            "GET /metadata/instance/compute?api-version=2019-06-04&format=json" => json!({
                "vmId": "v-1", "name": "vm", "location": "westeurope", "vmSize": "Standard_B1s", "zone": "",
                "tagsList": [{"name": "team", "value": "blue"}],
            }),
            "GET /metadata/instance/network?api-version=2019-06-04&format=json" => json!({"interface": [{
                "macAddress": "000D3A", "ipv4": {"ipAddress": [{"privateIpAddress": "10.1.0.4", "publicIpAddress": ""}]},
            }]}),
            _ => return (404, String::new()),
        };
        (200, answer.to_string())
    };
    let expected = pairs([
        ("unique.platform.azure.id", "v-1"),
        ("unique.platform.azure.name", "vm"),
        ("platform.azure.location", "westeurope"),
        ("platform.azure.vm-size", "Standard_B1s"),
        ("platform.azure.tag.team", "blue"),
        ("unique.platform.azure.mac", "000D3A"),
        ("unique.platform.azure.local-ipv4", "10.1.0.4"),
    ]);
    assert_eq!(found(&azure::CLOUD, "/metadata/instance", says), Some(expected));
}

#[test]
fn what_is_no_answer_is_no_attribute() {
    let check = |says: Says, expected: Option<BTreeMap<String, String>>| {
        assert_eq!(found(&digitalocean::CLOUD, "/metadata/v1/", says), expected);
    };
    let region = || Some(pairs([("platform.digitalocean.region", "fra1")]));
    check(
        |first, _| if first.ends_with("/region") { (200, "fra1".to_owned()) } else { (404, "x".to_owned()) },
        region(),
    );
    check(
        |first, _| if first.ends_with("/region") { (200, "fra1".to_owned()) } else { (200, "a\nb".to_owned()) },
        region(),
    );
    check(
        |first, _| if first.ends_with("/region") { (200, "fra1".to_owned()) } else { (200, "y".repeat(4000)) },
        region(),
    );
    check(|_, _| (500, "down".to_owned()), None);
    // Half of it is not taken for all of it.
    check(|first, _| if first.ends_with("/region") { (200, "fra1".to_owned()) } else { (503, "x".to_owned()) }, None);
    check(|_, _| (200, "z".repeat(2 << 20)), None);

    let all = (0..2000).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    assert_eq!(all.len(), 2000);
    let says: Says = |_, _| {
        let many: serde_json::Map<_, _> = (0..2000).map(|n| (format!("k{n}"), json!("v"))).collect();
        (
            200,
            json!({"attributes": many, "tags": 7, "networkInterfaces": {"a": []}, "id": [], "zone": null}).to_string(),
        )
    };
    assert_eq!(found(&gce::CLOUD, "/", says).unwrap().len(), ATTRIBUTES_MAX);
    assert_eq!(found(&gce::CLOUD, "/", |_, _| (200, "[[[[".to_owned())), None);
}

#[test]
fn a_look_that_fails_is_soon_tried_again() {
    assert_eq!(rest_after_failure(AGAIN_MAX, false), AGAIN_MIN, "after one that was answered");
    assert_eq!(rest_after_failure(AGAIN_MIN, true), AGAIN_MIN * 2);
    assert_eq!(rest_after_failure(AGAIN_MAX, true), AGAIN_MAX);
}
