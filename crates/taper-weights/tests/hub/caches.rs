//! The cache: revisions, offline, damage, links, neighbours, whole repositories.

use crate::server::{COMMIT, Reply, Server, Stored};
use crate::{Visitor, names, noise};
use std::os::unix::fs::symlink;
use taper_weights::hub::{Digest, Hub, Options};

const FILE: &str = "owner/net/model.safetensors";

fn large() -> Stored {
    Stored::large("model.safetensors", &noise(50_000))
}

#[test]
fn a_commit_in_the_cache_needs_no_network() {
    let server = Server::start(vec![large()], |_| None);
    let mut visitor = Visitor::of(&server);
    visitor.fetch(FILE).unwrap();
    let asked = server.requests().len();
    let pinned = Options {
        revision: Some(COMMIT.to_string()),
        ..Options::default()
    };
    let fetched = visitor.fetch_with(FILE, &pinned).unwrap();
    assert!(fetched.cached);
    assert_eq!(server.requests().len(), asked);
    let refs = visitor.repository().join("refs/main");
    assert_eq!(std::fs::read_to_string(refs).unwrap(), COMMIT);
}

#[test]
fn offline_takes_what_is_there_and_asks_nobody() {
    let server = Server::start(vec![large()], |_| None);
    let mut visitor = Visitor::of(&server);
    visitor.settings.offline = true;
    for spec in [FILE, "owner/net"] {
        let text = visitor.fails(spec);
        assert!(
            text.contains("HF_HUB_OFFLINE") && text.contains("owner/net"),
            "{text}"
        );
    }
    assert!(server.requests().is_empty());
    visitor.settings.offline = false;
    let path = visitor.fetch(FILE).unwrap().path;
    let asked = server.requests().len();
    visitor.settings.offline = true;
    for spec in [FILE, "owner/net"] {
        assert_eq!(visitor.fetch(spec).unwrap().path, path);
    }
    assert_eq!(server.requests().len(), asked);
}

#[test]
fn a_hub_that_is_down_leaves_the_cached_copy() {
    let server = Server::start(vec![large()], |_| None);
    let mut visitor = Visitor::of(&server);
    visitor.fetch(FILE).unwrap();
    visitor.settings.endpoint = "http://127.0.0.1:1".to_string();
    assert!(visitor.fetch(FILE).unwrap().cached);
    assert!(
        visitor
            .notes
            .iter()
            .any(|note| note.contains("the cached copy is used"))
    );
}

#[test]
fn a_damaged_copy_is_found_removed_and_fetched_anew() {
    let server = Server::start(vec![large()], |_| None);
    for revision in [None, Some(COMMIT.to_string())] {
        let mut visitor = Visitor::of(&server);
        let options = Options {
            revision,
            ..Options::default()
        };
        let path = visitor.fetch_with(FILE, &options).unwrap().path;
        let mut bytes = large().bytes;
        bytes[0] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        visitor.settings.offline = true;
        let text = visitor.fetch_with(FILE, &options).unwrap_err().to_string();
        assert!(
            text.contains("damaged") && text.contains(&large().etag()),
            "{text}"
        );
        assert_eq!(
            std::fs::read(&path).unwrap(),
            bytes,
            "offline removes nothing"
        );
        visitor.settings.offline = false;
        let fetched = visitor.fetch_with(FILE, &options).unwrap();
        assert_eq!(std::fs::read(fetched.path).unwrap(), large().bytes);
        assert!(visitor.notes.iter().any(|note| note.contains("is damaged")));
    }
}

#[test]
fn a_link_that_leads_out_of_the_cache_is_refused() {
    let server = Server::start(vec![large()], |_| None);
    let mut visitor = Visitor::of(&server);
    let path = visitor.fetch(FILE).unwrap().path;
    let secret = visitor.folder.path().join("secret");
    std::fs::write(&secret, "mine").unwrap();
    std::fs::remove_file(&path).unwrap();
    symlink(&secret, &path).unwrap();
    visitor.settings.offline = true;
    assert!(visitor.fails(FILE).contains("leads out of the cache"));
    visitor.settings.offline = false;
    // A blob that is itself such a link.
    let blob = visitor.repository().join("blobs").join(large().etag());
    std::fs::remove_file(&blob).unwrap();
    symlink(&secret, &blob).unwrap();
    assert!(visitor.fails(FILE).contains("leads out of the cache"));
    assert_eq!(std::fs::read(&secret).unwrap(), b"mine");
}

#[test]
fn two_at_once_fetch_the_file_once() {
    let server = Server::start(vec![large()], |request| {
        let mut reply = Reply::ranged(request, &large().bytes);
        reply.delay_ms = 300;
        (request.storage && request.is_get()).then_some(reply)
    });
    let visitor = Visitor::of(&server);
    let fetch = || {
        let hub = Hub::new(visitor.settings.clone()).unwrap();
        hub.fetch(FILE, &Options::default(), &mut |_| {}).unwrap()
    };
    std::thread::scope(|scope| {
        let both = [scope.spawn(fetch), scope.spawn(fetch)];
        for fetched in both.map(|thread| thread.join().unwrap()) {
            assert_eq!(std::fs::read(fetched.path).unwrap(), large().bytes);
        }
    });
    let bodies = server
        .requests()
        .iter()
        .filter(|request| request.storage)
        .count();
    assert_eq!(bodies, 1);
}

#[test]
fn the_weights_of_a_repository_are_found_by_looking() {
    let one = large();
    let two = Stored::large("model-00002-of-00002.safetensors", &noise(2000));
    let index = r#"{"metadata":{},"weight_map":{"a":"model.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    let index = Stored::small("x.safetensors.index.json", index.as_bytes());
    let readme = Stored::small("README.md", b"# net");
    let server = Server::start(vec![one, two, index, readme], |_| None);
    let mut visitor = Visitor::of(&server);
    let fetched = visitor.fetch("owner/net").unwrap();
    assert!(fetched.path.ends_with("model.safetensors"));
    let sharded = visitor.fetch("owner/net/x.safetensors.index.json").unwrap();
    assert_eq!(sharded.parts.len(), 2);
    assert!(sharded.parts.iter().all(|part| part.exists()));
    let folder = visitor.folder.path().join("copy");
    let options = Options {
        local_dir: Some(folder.clone()),
        ..Options::default()
    };
    visitor
        .fetch_with("owner/net/x.safetensors.index.json", &options)
        .unwrap();
    assert_eq!(names(&folder).len(), 3);
}

#[test]
fn an_index_that_names_files_elsewhere_is_refused() {
    let index = br#"{"weight_map":{"a":"../../evil"}}"#;
    let server = Server::start(vec![Stored::small("m.index.json", index)], |_| None);
    let text = Visitor::of(&server).fails("owner/net/m.index.json");
    assert!(text.contains("../../evil"), "{text}");
}

#[test]
fn a_demanded_digest_and_a_copy() {
    let server = Server::start(vec![large()], |_| None);
    let mut visitor = Visitor::of(&server);
    let folder = visitor.folder.path().join("copy");
    let mut options = Options {
        digest: Some(Digest::Sha256(large().etag())),
        local_dir: Some(folder.clone()),
        ..Options::default()
    };
    let fetched = visitor.fetch_with(FILE, &options).unwrap();
    assert_eq!(fetched.path, folder.join("model.safetensors"));
    assert!(
        !std::fs::symlink_metadata(&fetched.path)
            .unwrap()
            .is_symlink()
    );
    visitor.fetch_with(FILE, &options).unwrap();
    std::fs::write(&fetched.path, "another").unwrap();
    let text = visitor.fetch_with(FILE, &options).unwrap_err().to_string();
    assert!(text.contains("another file stands there"), "{text}");
    assert_eq!(std::fs::read(&fetched.path).unwrap(), b"another");
    options.digest = Some(Digest::Sha256("0".repeat(64)));
    let text = visitor.fetch_with(FILE, &options).unwrap_err().to_string();
    assert!(
        text.contains("another file than the one you ask for"),
        "{text}"
    );
}
