//! Images from files.

use std::fs::File;
use std::path::PathBuf;

use drover_images::{Digest, Image, PullPolicy, PullRequest};

use crate::Case;
use crate::made::{Made, Tar, describe, gzip};
use crate::support::{Place, request, settings};

pub const CASES: &[Case] = &[
    ("archives::what_docker_saves_is_loaded", what_docker_saves_is_loaded),
    ("archives::a_layout_is_loaded", a_layout_is_loaded),
    ("archives::what_is_wrong_is_named", what_is_wrong_is_named),
    ("archives::what_is_loaded_is_never_pulled", what_is_loaded_is_never_pulled),
];

fn load(place: &Place, archive: &[u8], wanted: Option<&str>) -> Result<Image, String> {
    let path: PathBuf = place.path().join("archive.tar");
    std::fs::write(&path, archive).unwrap();
    let wanted = wanted.map(|name| name.parse().unwrap());
    let loaded = place.store.load(File::open(&path).unwrap(), wanted, |_| {}).wait();
    std::fs::remove_file(path).unwrap();
    place.assert_clean();
    loaded.map_err(|error| error.sentence())
}

fn tars() -> [Vec<u8>; 2] {
    [Tar::new().file("base", "base").end(), Tar::new().file("own", "own").end()]
}

/// As `docker save` of old: a directory for each layer, an equal one linked.
fn saved(tags: &str) -> Vec<u8> {
    let [base, own] = tars();
    let plain = Made::sent(&[
        (base.clone(), Digest::of(&base)),
        (own.clone(), Digest::of(&own)),
        (base.clone(), Digest::of(&base)),
    ]);
    let list =
        format!(r#"[{{"Config":"c.json","RepoTags":{tags},"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}}]"#);
    Tar::new()
        .dir("1/")
        .file("1/layer.tar", &base)
        .file("2/layer.tar", &own)
        .symlink("3/layer.tar", "../1/layer.tar")
        .file("c.json", &plain.config)
        .file("manifest.json", list)
        .end()
}

fn what_docker_saves_is_loaded() {
    let place = Place::new(settings(&[]));
    let archive = saved(r#"["app:1","other/app:2"]"#);
    for archive in [archive.clone(), gzip(&archive)] {
        for wanted in [None, Some("app:1"), Some("docker.io/other/app:2")] {
            let image = load(&place, &archive, wanted).unwrap();
            assert_eq!(image.layers.len(), 2);
            assert_eq!(std::fs::read(image.layers[0].join("own")).unwrap(), b"own");
            assert_eq!(std::fs::read(image.layers[1].join("base")).unwrap(), b"base");
            assert_eq!(image.config.entrypoint, ["/bin/app"]);
        }
    }
    assert_eq!(
        load(&place, &archive, Some("app:3")).unwrap_err(),
        "the archive can not be loaded: docker.io/library/app:3 is not in it"
    );
    load(&place, &saved("null"), Some("app:3")).unwrap();
}

fn layout(made: &Made, annotations: serde_json::Value) -> Vec<u8> {
    let mut entry = describe(&made.manifest, "application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = annotations;
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    let mut tar =
        Tar::new().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#).file("index.json", index.to_string());
    for blob in made.layers.iter().chain([&made.manifest, &made.config]) {
        tar = tar.file(&format!("blobs/sha256/{}", Digest::of(blob).hex()), blob);
    }
    tar.end()
}

fn a_layout_is_loaded() {
    let place = Place::new(settings(&[]));
    let made = Made::of(&tars());
    let named = layout(&made, serde_json::json!({"org.opencontainers.image.ref.name": "1"}));
    for wanted in [None, Some("app:1")] {
        let image = load(&place, &named, wanted).unwrap();
        assert_eq!((image.digest.clone(), image.id.clone()), (Digest::of(&made.manifest), Digest::of(&made.config)));
        assert_eq!(std::fs::read(image.layers[1].join("own")).unwrap(), b"own");
    }
    load(&place, &layout(&made, serde_json::json!({})), Some("app:1")).unwrap();
    let whole = layout(&made, serde_json::json!({"io.containerd.image.name": "docker.io/library/app:7"}));
    load(&place, &whole, Some("app:7")).unwrap();
}

fn what_is_wrong_is_named() {
    let place = Place::new(settings(&[]));
    let check = |archive: &[u8], reason: &str| {
        let sentence = load(&place, archive, None).unwrap_err();
        assert!(sentence.contains(reason), "{sentence}");
        assert!(place.names("layers").is_empty() && place.names("images").is_empty());
    };
    check(b"", "neither what `docker save` writes nor an OCI layout");
    check(&[b'x'; 1024], "it is no tar");
    check(&Tar::new().file("a", "").end(), "neither");
    check(&Tar::new().file("manifest.json", "[]").end(), "it holds no image");
    check(
        &Tar::new().file("manifest.json", r#"[{"Config":"../../etc/passwd"}]"#).end(),
        "`../../etc/passwd` is missing in it",
    );
    check(&saved("[]")[..1600], "it is cut short");
    let made = Made::of(&tars());
    let mut lie = layout(&made, serde_json::json!({}));
    let at = lie.windows(8).position(|bytes| bytes == &made.layers[0][..8]).unwrap();
    lie[at + 20] ^= 1;
    check(&lie, "is not what its digest says");
    let mut lie = layout(&made, serde_json::json!({}));
    let at = lie.windows(8).position(|bytes| bytes == b"SIGQUIT\"").unwrap();
    lie[at] = b'X';
    check(&lie, "is not what its digest says");
    // A layer of another content than the configuration tells.
    let [base, own] = tars();
    let made = Made::sent(&[(gzip(&base), Digest::of(&own))]);
    check(&layout(&made, serde_json::json!({})), "configuration wants");
}

fn what_is_loaded_is_never_pulled() {
    let place = Place::new(settings(&["127.0.0.1:1"]));
    let image = load(&place, &saved(r#"["127.0.0.1:1/app:1"]"#), None).unwrap();
    assert_eq!(image.name, "127.0.0.1:1/app:1");
    let wish = PullRequest { policy: PullPolicy::IfMissing, ..request("127.0.0.1:1/app:1") };
    assert!(place.store.pull(wish, |_| {}).wait().is_err());
    // But it can be leased like any other.
    place.store.lease(&image, "a/b").unwrap();
    assert_eq!(place.store.leased("a/b").unwrap().layers, image.layers);
}
