//! What a misbehaving registry brings about: an image that is right, or a sentence and nothing in the store.

use std::collections::HashSet;
use std::path::Path;

use rvm_images::registry::PullOptions;
use rvm_images::{Digest, Progress, Prune, Reference, Silent, Step, Store};

use crate::common::layers::{gzip, layer, noise};
use crate::common::{chain, layout, tempdir};
use crate::faulty::{Fault, Faulty};

fn image(folder: &Path) -> Digest {
    let layers: Vec<_> = (0..2u64)
        .map(|i| {
            let tar = layer()
                .dir("./")
                .file(&format!("file-{i}"), noise(1_000_000, i))
                .done();
            (format!("{}+gzip", layout::TAR), gzip(&tar), tar)
        })
        .collect();
    layout::image(folder, &layers)["digest"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

struct Attempt {
    server: Faulty,
    store: Store,
    name: Reference,
    _folder: tempfile::TempDir,
    result: Result<(), String>,
}

fn pull(fault: Fault) -> Attempt {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    let server = Faulty::start(&layout, image(&layout), fault);
    let store = Store::open(folder.path().join("store")).unwrap();
    let name: Reference = format!("{}/test/image:1", server.host).parse().unwrap();
    let result = store.pull(&name, &PullOptions::default(), &Silent);
    let result = result.map(drop).map_err(|err| chain(&err));
    Attempt {
        server,
        store,
        name,
        _folder: folder,
        result,
    }
}

fn is_whole(attempt: &Attempt) {
    assert_eq!(attempt.result, Ok(()));
    let image = attempt.store.resolve(&attempt.name.to_string()).unwrap();
    for layer in &image.layers {
        let blob = attempt
            ._folder
            .path()
            .join("store/content/blobs/sha256")
            .join(layer.digest.hex());
        assert_eq!(Digest::of(&std::fs::read(blob).unwrap()), layer.digest);
    }
    assert_eq!(attempt.store.layer_images(&image, 9).unwrap().len(), 2);
}

fn is_refused(attempt: &Attempt, why: &str) {
    let text = attempt.result.clone().unwrap_err();
    assert!(text.contains(why), "{text}");
    assert!(attempt.store.list().unwrap().is_empty());
    assert!(attempt.store.resolve(&attempt.name.to_string()).is_err());
}

#[test]
fn a_connection_that_breaks_is_gone_on_from() {
    let attempt = pull(Fault::Cuts);
    is_whole(&attempt);
    let seen = attempt.server.seen.lock().unwrap();
    assert!(seen.ranges.iter().any(|&from| from >= 400_000), "{seen:?}");
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let attempt = pull(Fault::IgnoresRange);
    is_whole(&attempt);
    assert!(!attempt.server.seen.lock().unwrap().ranges.is_empty());
}

#[test]
fn other_bytes_than_the_digest_says_are_refused() {
    is_refused(&pull(Fault::WrongBytes), "its digest is sha256:");
}

#[test]
fn more_bytes_than_the_descriptor_says_are_refused() {
    is_refused(&pull(Fault::TooLong), "the registry sent");
}

#[test]
fn a_token_that_expires_is_renewed() {
    let attempt = pull(Fault::ExpiredTokens);
    is_whole(&attempt);
    assert!(attempt.server.seen.lock().unwrap().tokens > 1);
}

#[test]
fn no_token_goes_to_the_host_of_a_redirect() {
    let attempt = pull(Fault::Redirects);
    is_whole(&attempt);
    let seen = attempt.server.seen.lock().unwrap();
    assert!(seen.tokens > 0);
    assert!(seen.leaked.is_empty(), "{seen:?}");
}

#[test]
fn a_busy_server_is_asked_again() {
    is_whole(&pull(Fault::Busy));
}

#[test]
fn a_server_of_plain_http_that_waits_is_not_waited_for() {
    let start = std::time::Instant::now();
    is_whole(&pull(Fault::Mute));
    assert!(
        start.elapsed() < std::time::Duration::from_secs(45),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_layer_that_only_claims_to_be_one_that_is_here_is_refused() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    let store = Store::open(folder.path().join("store")).unwrap();
    let tar = |name: &str| layer().dir("./").file(name, noise(1000, 1)).done();
    let pull = |blob: Vec<u8>, claimed: Vec<u8>| {
        let blob = (layout::TAR.to_owned(), blob, claimed);
        let digest = layout::image(&layout, &[blob])["digest"]
            .as_str()
            .unwrap()
            .parse();
        let server = Faulty::start(&layout, digest.unwrap(), Fault::None);
        let name = format!("{}/test/image:1", server.host).parse().unwrap();
        let pulled = store.pull(&name, &PullOptions::default(), &Silent);
        pulled.map_err(|err| chain(&err))
    };
    pull(tar("one"), tar("one")).unwrap();
    pull(tar("two"), tar("two")).unwrap();
    // Both the blob and the file system are here, but do not belong together; nor does a blob that is new.
    for (blob, claimed) in [("two", "one"), ("three", "one")] {
        let err = pull(tar(blob), tar(claimed)).unwrap_err();
        assert!(err.contains("is damaged: it unpacks to"), "{err}");
    }
    assert_eq!(store.list().unwrap().len(), 2);
}

/// Removes all that nobody needs, again and again.
struct Pruning<'a>(&'a Store);

impl Progress for Pruning<'_> {
    fn step(&self, _: &Digest, _: Step) {
        let pruned = self.0.prune(Prune::All, &HashSet::new(), |_| true).unwrap();
        assert_eq!(pruned.reclaimed, 0);
    }
}

#[test]
fn pruning_takes_nothing_that_a_pull_needs() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    let server = Faulty::start(&layout, image(&layout), Fault::None);
    let store = Store::open(folder.path().join("store")).unwrap();
    let name: Reference = format!("{}/test/image:1", server.host).parse().unwrap();
    store
        .pull(&name, &PullOptions::default(), &Pruning(&store))
        .unwrap();
    let image = store.resolve(&name.to_string()).unwrap();
    assert_eq!(store.layer_images(&image, 9).unwrap().len(), 2);
}

#[test]
fn two_pulls_at_once_fetch_each_layer_once() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    let server = Faulty::start(&layout, image(&layout), Fault::None);
    let root = folder.path().join("store");
    std::thread::scope(|scope| {
        for tag in 0..4 {
            let (root, host) = (&root, &server.host);
            scope.spawn(move || {
                let name = format!("{host}/test/image:{tag}").parse().unwrap();
                let store = Store::open(root).unwrap();
                store.pull(&name, &PullOptions::default(), &Silent).unwrap();
            });
        }
    });
    let store = Store::open(&root).unwrap();
    assert_eq!(store.list().unwrap().len(), 4);
    let image = store.list().unwrap().remove(0).image;
    let seen = server.seen.lock().unwrap();
    for layer in &image.layers {
        let count = seen
            .blobs
            .iter()
            .filter(|(path, _)| path.ends_with(&layer.digest.hex()))
            .map(|(_, n)| n)
            .sum::<usize>();
        assert_eq!(count, 1, "{seen:?}");
    }
}
