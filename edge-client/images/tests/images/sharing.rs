//! One pull for all who want the same, turns, cancelling; and what is kept for whom, and how long.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use drover_images::{Collected, Credentials, Image, ImageStore, Phase, Progress, Pull, PullPolicy, PullRequest};

use crate::Case;
use crate::fake::{End, Fake};
use crate::made::{Made, Tar};
use crate::support::{Place, eventually, request, settings};

pub const CASES: &[Case] = &[
    ("sharing::many_wants_are_one_pull", many_wants_are_one_pull),
    ("sharing::a_pull_ends_with_the_last_who_wants_it", a_pull_ends_with_the_last_who_wants_it),
    ("sharing::pulls_take_turns", pulls_take_turns),
    ("sharing::a_registry_is_asked_when_it_should_be", a_registry_is_asked_when_it_should_be),
    ("sharing::what_is_used_stays_and_the_rest_goes", what_is_used_stays_and_the_rest_goes),
    ("sharing::unused_bytes_have_a_bound", unused_bytes_have_a_bound),
];

/// Something that tests open.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

fn image(body: &str) -> Made {
    Made::of(&[Tar::new().file("base", "base").end(), Tar::new().file("own", body).end()])
}

/// Blobs come when the gate is open.
fn gated(gate: &Gate) -> Fake {
    let (made, gate) = (image("x"), gate.clone());
    Fake::start(move |seen| {
        if seen.target.contains("/blobs/") {
            gate.pass();
        }
        made.answer(seen)
    })
}

/// A future without a runtime: woken through a thread's parking.
fn block_on(pull: Pull) -> Image {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut pull = std::pin::pin!(pull);
    loop {
        match pull.as_mut().poll(&mut context) {
            std::task::Poll::Ready(outcome) => return outcome.unwrap(),
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

fn many_wants_are_one_pull() {
    let gate = Gate::default();
    let fake = gated(&gate);
    let place = Place::with(&fake.host);
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let wish = || {
        let told = Arc::clone(&told);
        place
            .store
            .pull(request(&format!("{}/a", fake.host)), move |progress| told.lock().unwrap().push(progress.clone()))
    };
    let pulls: Vec<_> = (0..20).map(|_| wish()).collect();
    // Whoever has another login gets an answer of their own.
    let credentials = Some(Credentials { username: "u".to_owned(), password: "p".to_owned() });
    let stranger = PullRequest { credentials, ..request(&format!("{}/a", fake.host)) };
    let unpacking: Arc<Mutex<Vec<Phase>>> = Arc::default();
    let log = Arc::clone(&unpacking);
    let stranger = place.store.pull(stranger, move |progress| log.lock().unwrap().push(progress.phase));
    gate.open();
    let images: Vec<_> = pulls.into_iter().map(block_on).collect();
    let other = stranger.wait().unwrap();
    assert!(images.iter().chain([&other]).all(|image| image.layers == images[0].layers));
    assert_eq!(fake.count("/manifests/"), 2, "one pull for each login");
    for layer in 0..2 {
        assert_eq!(fake.count(image("x").layer(layer).as_str()), 1, "and each layer once");
    }
    let told = told.lock().unwrap();
    let last = told.last().unwrap();
    assert_eq!((last.layers_done, last.layers, last.bytes), (2, 2, last.bytes_total));
    // Whichever of the two came first.
    let phases: Vec<_> = told.iter().map(|progress| progress.phase).chain(unpacking.lock().unwrap().clone()).collect();
    assert!(phases.contains(&Phase::Unpacking));
    assert!(told.iter().any(|progress| progress.to_string().starts_with("layer 1 of 2, ")));
}

fn a_pull_ends_with_the_last_who_wants_it() {
    let made = image("x");
    let fake = Fake::start(move |seen| {
        let reply = made.answer(seen);
        if seen.target.contains("/blobs/") { reply.end(End::Hang(1)) } else { reply }
    });
    let place = Place::with(&fake.host);
    let wish = || place.store.pull(request(&format!("{}/a", fake.host)), |_| {});
    let (first, second) = (wish(), wish());
    drop(first);
    eventually("it goes on", || (fake.count("/blobs/") == 1).then_some(()));
    drop(second);
    // A new wish is a new pull, though the old one has not ended yet.
    let third = wish();
    eventually("it begins anew", || (fake.count("/manifests/") == 2).then_some(()));
    drop(third);
    place.assert_clean();
}

fn pulls_take_turns() {
    let gate = Gate::default();
    let fake = gated(&gate);
    let mut settings = settings(&[&fake.host]);
    settings.bounds.pulls_max = 1;
    let place = Place::new(settings);
    let first = place.store.pull(request(&format!("{}/a", fake.host)), |_| {});
    eventually("the first has its turn", || (fake.count("/a/blobs/") == 1).then_some(()));
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&told);
    let second =
        place.store.pull(request(&format!("{}/b", fake.host)), move |it| log.lock().unwrap().push(it.to_string()));
    eventually("the second waits", || (!told.lock().unwrap().is_empty()).then_some(()));
    assert_eq!(*told.lock().unwrap(), ["waiting for other pulls"]);
    let third = place.store.pull(request(&format!("{}/c", fake.host)), |_| {});
    drop(third);
    assert_eq!(fake.count("/b/"), 0);
    gate.open();
    first.wait().unwrap();
    second.wait().unwrap();
    assert_eq!(fake.count("/c/"), 0);
}

fn a_registry_is_asked_when_it_should_be() {
    let mut made = image("x");
    let manifest = made.manifest.clone();
    made.tag("1", &manifest);
    let fake = Fake::start(move |seen| made.answer(seen));
    let place = Place::with(&fake.host);
    let check = |name: &str, policy: PullPolicy, asked: usize| {
        let before = fake.seen().len();
        place.store.pull(PullRequest { policy, ..request(&format!("{}/{name}", fake.host)) }, |_| {}).wait().unwrap();
        // Manifest and configuration.
        assert_eq!(fake.seen().len() - before, asked, "{name} {policy:?}");
    };
    check("a:1", PullPolicy::Default, 4);
    check("a:1", PullPolicy::Default, 0);
    check("a:1", PullPolicy::Always, 2);
    check("a", PullPolicy::Default, 2);
    check("a", PullPolicy::Default, 2);
    check("a", PullPolicy::IfMissing, 0);
    let by_digest = format!("a@{}", drover_images::Digest::of(&manifest));
    check(&by_digest, PullPolicy::Always, 2);
    check(&by_digest, PullPolicy::Always, 0);
}

fn what_is_used_stays_and_the_rest_goes() {
    let made = image("x");
    let fake = Fake::start(move |seen| made.answer(seen));
    let mut settings = settings(&[&fake.host]);
    settings.bounds.unused_max = Duration::ZERO;
    let place = Place::new(settings.clone());
    let name = format!("{}/a", fake.host);
    let image = place.pull(&name).unwrap();
    let nothing = Collected::default();
    assert_eq!(place.store.collect(), nothing, "held by its value");
    place.store.lease(&image, "alloc/web").unwrap();
    place.store.lease(&image, "alloc/db").unwrap();
    drop(image);
    assert_eq!(place.store.collect(), nothing, "held by its leases");
    assert!(place.store.leased("alloc/other").is_none());

    // The agent dies; another one takes over.
    let place = place.reopen(settings);
    assert_eq!(place.store.collect(), nothing);
    let image = place.store.leased("alloc/web").unwrap();
    assert_eq!((image.name.as_str(), image.layers.len()), (format!("{name}:latest").as_str(), 2));
    assert!(image.layers.iter().all(|layer| layer.is_dir()));
    drop(image);
    place.store.keep_only(["alloc/db"]);
    assert!(place.store.leased("alloc/web").is_none());
    assert_eq!(place.store.collect(), nothing);
    place.store.release("alloc/db");
    let collected = place.store.collect();
    assert_eq!((collected.images, collected.layers), (1, 2));
    for folder in ["images", "layers", "leases", "temporary"] {
        assert!(place.names(folder).is_empty(), "{folder}");
    }
    let find = |store: &ImageStore| store.find(&name.parse().unwrap());
    assert!(find(&place.store).is_none());
    // A record whose layers are gone or damaged is not believed.
    let image = place.pull(&name).unwrap();
    let layer = image.layers[0].parent().unwrap().to_owned();
    std::fs::write(layer.join("layer.json"), "{").unwrap();
    drop(image);
    assert!(find(&place.store).is_none());
    let image = place.pull(&name).unwrap();
    assert_eq!(std::fs::read(image.layers[0].join("base")).unwrap(), b"base");
    place.assert_clean();
}

fn unused_bytes_have_a_bound() {
    let (first, second) = (image(&"1".repeat(100_000)), image(&"2".repeat(100_000)));
    let fake =
        Fake::start(move |seen| if seen.target.contains("/first/") { first.answer(seen) } else { second.answer(seen) });
    let mut settings = settings(&[&fake.host]);
    // Room for one of the two, with the layer that they share.
    settings.bounds.unused_bytes_max = 150_000;
    let place = Place::new(settings);
    drop(place.pull(&format!("{}/first", fake.host)).unwrap());
    drop(place.pull(&format!("{}/second", fake.host)).unwrap());
    let is_there = |name: &str| place.store.find(&format!("{}/{name}", fake.host).parse().unwrap()).is_some();
    place.store.collect();
    assert!(!is_there("first"), "the longest unused goes");
    assert!(is_there("second"));
    assert_eq!(place.names("layers").len(), 2, "the shared layer stays");
}
