//! A pull from its first question to the image: mirrors and the registry, index, manifest, configuration, layers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::blob;
use crate::credentials::{self, Login};
use crate::digest::Digest;
use crate::error::PullError;
use crate::image::Image;
use crate::layer;
use crate::manifest::{self, CONFIG_BYTES_MAX, Descriptor, Document, MANIFEST_BYTES_MAX, Manifest};
use crate::meter::Meter;
use crate::progress::Phase;
use crate::pull::Flight;
use crate::records::{ImageRecord, LayerRecord};
use crate::registry::{Access, Repository, TRIES_MAX};
use crate::settings::{PullPolicy, PullRequest};
use crate::store::{ImageStore, Inner, THREAD_STACK};
use crate::turn::Turn;
use crate::watch::Watch;

/// Gets what a request asks for.
pub(crate) fn run(
    inner: &Arc<Inner>,
    request: &PullRequest,
    timeout: Duration,
    flight: &Flight,
) -> Result<Image, PullError> {
    let name = request.reference.to_string();
    let may_be_old = match request.policy {
        PullPolicy::IfMissing => true,
        PullPolicy::Always => request.reference.digest().is_some(),
        PullPolicy::Default => !request.reference.is_latest(),
    };
    let there = || if may_be_old { inner.find(&name) } else { None };
    if let Some(image) = there() {
        return Ok(image);
    }
    let meter = Meter::new(flight);
    let turn = Turn::take(inner, flight, &meter)?;
    // Another pull may have brought it meanwhile.
    if let Some(image) = there() {
        return Ok(image);
    }
    let watch = Watch::new(flight.cancelled.clone(), timeout, inner.settings.bounds.silence_max);
    let pulled = from_any(inner, request, &name, &meter, &watch);
    drop(turn);
    ImageStore::from(inner).collect();
    match pulled {
        // An edge without its network starts again what it ran before: `latest` is asked for by custom, not by wish.
        Err(PullError::Unreachable { .. } | PullError::Silent { .. }) if request.policy == PullPolicy::Default => {
            inner.find(&name).map_or(pulled, Ok)
        }
        pulled => pulled,
    }
}

/// Asks the mirrors, in their order, and then the registry.
fn from_any(
    inner: &Arc<Inner>,
    request: &PullRequest,
    name: &str,
    meter: &Meter<'_>,
    watch: &Watch,
) -> Result<Image, PullError> {
    let registry = request.reference.registry();
    let mirrors = inner.settings.registries.get(registry).map(|it| it.mirrors.as_slice()).unwrap_or_default();
    for mirror in mirrors {
        // One that does not answer at once is passed over. A login of the registry's is none of the mirror's business.
        let pulled = login_for(inner, mirror, None, watch)
            .and_then(|login| from_one(inner, request, name, (mirror, login, 1), meter, watch));
        match pulled {
            // These are on this side.
            Err(error @ (PullError::Cancelled | PullError::Timeout(_) | PullError::Disk { .. })) => return Err(error),
            Err(_) => {}
            pulled => return pulled,
        }
    }
    let login = match login_for(inner, registry, request.credentials.clone().map(Login::Password), watch) {
        Err(_) if request.without_login_too => None,
        login => login?,
    };
    // Where there is an older image to go back to, a task does not wait long for a registry that is away.
    let can_go_back = request.policy == PullPolicy::Default && inner.find(name).is_some();
    from_one(inner, request, name, (registry, login, if can_go_back { 2 } else { TRIES_MAX }), meter, watch)
}

fn login_for(inner: &Inner, host: &str, own: Option<Login>, watch: &Watch) -> Result<Option<Login>, PullError> {
    match own {
        Some(own) => Ok(Some(own)),
        None => credentials::find(&inner.settings, host, watch)
            .map_err(|reason| PullError::Login { host: host.to_owned(), reason }),
    }
}

fn from_one(
    inner: &Arc<Inner>,
    request: &PullRequest,
    name: &str,
    (host, login, tries_max): (&str, Option<Login>, u32),
    meter: &Meter<'_>,
    watch: &Watch,
) -> Result<Image, PullError> {
    meter.phase(Phase::Resolving);
    let access = Access { settings: &inner.settings, login, without_login_too: request.without_login_too, tries_max };
    let parts = watch.for_parts();
    let repository = Repository::new(host, request.reference.repository(), name, access, &parts)?;
    let (digest, manifest) = resolve(inner, request, name, &repository)?;
    check(inner, &manifest)?;
    let config = blob::get_small(&repository, "configuration", &manifest.config, CONFIG_BYTES_MAX)?;
    let config = manifest::parse_config(&config, manifest.layers.len()).map_err(|reason| PullError::Malformed {
        what: "configuration",
        name: name.to_owned(),
        reason,
    })?;
    let sizes: Vec<u64> = manifest.layers.iter().map(|layer| layer.size).collect();
    meter.image(&sizes);
    let wanted: Vec<_> = manifest.layers.iter().zip(&config.rootfs.diff_ids).collect();
    let layers = get_layers(inner, &repository, &wanted, meter, &parts)?;
    let record = ImageRecord {
        name: name.to_owned(),
        platform: inner.settings.platform.to_string(),
        digest,
        id: manifest.config.digest,
        config: config.config,
        layers: layer::without_doubles(layers.iter().map(|(record, _)| record.clone()).collect()),
    };
    inner.keep_record(&record).map_err(PullError::disk(format!("write down {name}")))?;
    layer::image(inner, &record, name)
}

/// The manifest of the image for this platform, and the digest of what the name stands for.
fn resolve(
    inner: &Inner,
    request: &PullRequest,
    name: &str,
    repository: &Repository,
) -> Result<(Digest, Manifest), PullError> {
    let malformed = |reason: String| PullError::Malformed { what: "manifest", name: name.to_owned(), reason };
    let (digest, bytes) = match request.reference.digest() {
        Some(digest) => {
            let wanted = Descriptor::of_manifest(digest.clone());
            (digest.clone(), blob::get_small(repository, "manifest", &wanted, MANIFEST_BYTES_MAX)?)
        }
        None => {
            let tag = request.reference.tag().unwrap_or("latest");
            let bytes = blob::get_document(repository, "manifests", "manifest", tag, MANIFEST_BYTES_MAX)?;
            (Digest::of(&bytes), bytes)
        }
    };
    let index = match manifest::parse(&bytes).map_err(malformed)? {
        Document::Manifest(manifest) => return Ok((digest, manifest)),
        Document::Index(index) => index,
    };
    let wanted = &inner.settings.platform;
    let chosen = manifest::choose(&index, wanted).map_err(|offered| PullError::Platform {
        name: name.to_owned(),
        wanted: wanted.to_string(),
        offered,
    })?;
    let bytes = blob::get_small(repository, "manifest", chosen, MANIFEST_BYTES_MAX)?;
    match manifest::parse(&bytes).map_err(malformed)? {
        Document::Manifest(manifest) => Ok((digest, manifest)),
        Document::Index(_) => Err(malformed("its index leads to another index".to_owned())),
    }
}

/// Holds an image against the bounds before any of it is fetched.
fn check(inner: &Inner, manifest: &Manifest) -> Result<(), PullError> {
    let bounds = &inner.settings.bounds;
    if manifest.layers.len() > bounds.layers_max {
        return Err(PullError::Layers(manifest.layers.len(), bounds.layers_max));
    }
    if let Some(large) = manifest.layers.iter().find(|layer| layer.size > bounds.layer_bytes_max) {
        return Err(PullError::TooLarge { what: format!("layer {}", large.digest), max: bounds.layer_bytes_max });
    }
    let total = manifest.layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    if total > bounds.image_bytes_max {
        return Err(PullError::TooLarge { what: "the image".to_owned(), max: bounds.image_bytes_max });
    }
    Ok(())
}

type Layers = Vec<(LayerRecord, crate::leases::Held)>;

/// Gets the layers, some at a time. The first that fails ends the others.
fn get_layers(
    inner: &Arc<Inner>,
    repository: &Repository,
    wanted: &[(&Descriptor, &Digest)],
    meter: &Meter<'_>,
    watch: &Watch,
) -> Result<Layers, PullError> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, _)>> = Mutex::default();
    let failed: Mutex<Option<PullError>> = Mutex::default();
    let work = || {
        while let Some((at, (blob, diff_id))) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, wanted.get(at)?)))
        {
            match get_layer(inner, repository, (at, blob, diff_id), meter, watch) {
                Ok(layer) => done.lock().unwrap_or_else(PoisonError::into_inner).push((at, layer)),
                Err(error) => {
                    // Only the first says what happened; the others end because of it.
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    watch.fail();
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let others = inner.settings.bounds.downloads_max.min(wanted.len()).saturating_sub(1);
        for _ in 0..others {
            // Where there can be no more threads this one does it all.
            let _ = std::thread::Builder::new().stack_size(THREAD_STACK).spawn_scoped(scope, work);
        }
        work();
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, layer)| layer).collect())
}

fn get_layer(
    inner: &Arc<Inner>,
    repository: &Repository,
    (at, blob, diff_id): (usize, &Descriptor, &Digest),
    meter: &Meter<'_>,
    watch: &Watch,
) -> Result<(LayerRecord, crate::leases::Held), PullError> {
    let partial = inner.partial_path(&blob.digest);
    let got = layer::get(inner, &blob.digest, diff_id, meter, watch, || {
        blob::download(repository, blob, &partial, &|bytes| meter.layer_bytes(at, bytes))
    })?;
    let _ = std::fs::remove_file(&partial);
    meter.layer_done(at, blob.size);
    Ok(got)
}
