//! Servers that refuse, break off, lie, and lose their nerve.

use crate::server::{COMMIT, Reply, Server, Stored};
use crate::{Visitor, noise};

const FILE: &str = "owner/net/model.safetensors";

fn large() -> Stored {
    Stored::large("model.safetensors", &noise(300_000))
}

#[test]
fn a_large_file_is_redirected_verified_and_found_again_and_the_token_stays_at_the_hub() {
    let server = Server::start(vec![large()], |_| None);
    let mut visitor = Visitor::of(&server);
    let fetched = visitor.fetch(FILE).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), large().bytes);
    assert_eq!(fetched.commit.as_deref(), Some(COMMIT));
    assert_eq!(fetched.digest.unwrap().digits(), large().etag());
    assert!(!fetched.cached);
    for request in server.requests() {
        let token = request.headers.get("authorization").map(String::as_str);
        let expected = if request.storage {
            None
        } else {
            Some("Bearer hf_secret")
        };
        assert_eq!(token, expected, "{request:?}");
    }
    let gets = server.gets();
    assert!(visitor.fetch(FILE).unwrap().cached);
    assert_eq!(server.gets(), gets);
    assert_eq!(visitor.blobs(), [large().etag()]);
}

#[test]
fn a_small_file_is_verified_by_its_git_blob() {
    let server = Server::start(vec![Stored::small("config.json", b"{}")], |_| None);
    let mut visitor = Visitor::of(&server);
    let fetched = visitor.fetch("owner/net/config.json").unwrap();
    assert_eq!(fetched.digest.unwrap().kind(), "git blob SHA-1");
    assert_eq!(std::fs::read(fetched.path).unwrap(), b"{}");
}

#[test]
fn refusals_say_what_to_do() {
    let gated = ("GatedRepo", 403, "accept its terms at");
    let private = ("", 401, "the token (HF_TOKEN");
    let forbidden = ("", 403, "ask for access at");
    let nowhere = ("RepoNotFound", 404, "no repository owner/net");
    for (code, status, advice) in [gated, private, forbidden, nowhere] {
        let server = Server::plain(move |_| Reply::status(status).header("X-Error-Code", code));
        for spec in [FILE, "owner/net"] {
            let text = Visitor::of(&server).fails(spec);
            assert!(
                text.contains("owner/net") && text.contains(advice),
                "{text}"
            );
        }
    }
    let server = Server::start(vec![large()], |_| None);
    let mut visitor = Visitor::of(&server);
    let file = visitor.fails("owner/net/none.pth");
    assert!(file.contains("no file none.pth at revision main"), "{file}");
    let revision = visitor.fails("owner/net@v9/model.safetensors");
    assert!(
        revision.contains("no branch, tag or commit v9"),
        "{revision}"
    );
    assert!(visitor.blobs().is_empty());
    let mut nobody = Visitor::of(&Server::plain(|_| Reply::status(401)));
    nobody.settings.token = None;
    nobody.settings.endpoint = server.endpoint.clone();
    nobody.fetch(FILE).unwrap();
}

#[test]
fn a_server_that_recovers_is_asked_again() {
    for status in [429, 500, 503] {
        let server = Server::start(vec![large()], move |request| {
            (!request.storage && request.nth < 2)
                .then(|| Reply::status(status).header("Retry-After", "0"))
        });
        let mut visitor = Visitor::of(&server);
        visitor.fetch(FILE).unwrap();
        let told = visitor
            .notes
            .iter()
            .any(|note| note.contains(&status.to_string()));
        assert!(told, "{:?}", visitor.notes);
    }
}

#[test]
fn a_server_that_does_not_recover_is_named() {
    for (status, word) in [(429, "429 too many requests"), (500, "answered 500")] {
        let server = Server::plain(move |_| Reply::status(status));
        for spec in [FILE, "owner/net"] {
            let text = Visitor::of(&server).fails(spec);
            assert!(
                text.contains(word) && text.contains("after 3 attempts"),
                "{text}"
            );
        }
    }
}

#[test]
fn an_error_page_of_the_storage_never_gets_the_files_name() {
    let server = Server::start(vec![large()], |request| {
        request
            .storage
            .then(|| Reply::status(403).body("<html>expired</html>"))
    });
    let mut visitor = Visitor::of(&server);
    let text = visitor.fails(FILE);
    assert!(text.contains("403"), "{text}");
    assert!(visitor.blobs().is_empty());
}

#[test]
fn a_cut_connection_is_resumed() {
    let server = Server::start(vec![large()], |request| {
        let mut reply = Reply::ranged(request, &large().bytes);
        reply.cut = Some(100_000);
        (request.storage && request.is_get() && request.nth < 2).then_some(reply)
    });
    let mut visitor = Visitor::of(&server);
    let fetched = visitor.fetch(FILE).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), large().bytes);
    let requests = server.requests();
    let ranges: Vec<_> = requests
        .iter()
        .filter(|request| request.storage)
        .map(|request| request.headers.get("range").cloned())
        .collect();
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=100000-"));
    assert_eq!(ranges[2].as_deref(), Some("bytes=200000-"));
    assert_eq!(visitor.blobs(), [large().etag()]);
}

#[test]
fn what_a_killed_process_left_is_gone_on_from() {
    let server = Server::start(vec![large()], |_| None);
    let mut visitor = Visitor::of(&server);
    let blobs = visitor.repository().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", large().etag()));
    std::fs::write(&partial, &large().bytes[..123_456]).unwrap();
    visitor.fetch(FILE).unwrap();
    assert_eq!(visitor.started, [123_456]);
    assert!(visitor.notes[0].contains("resumes after 123456 bytes"));
    assert_eq!(visitor.blobs(), [large().etag()]);
}

#[test]
fn a_damaged_part_is_thrown_away_and_the_whole_fetched() {
    let server = Server::start(vec![large()], |_| None);
    let mut visitor = Visitor::of(&server);
    let blobs = visitor.repository().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", large().etag()));
    std::fs::write(&partial, vec![7; 1000]).unwrap();
    let fetched = visitor.fetch(FILE).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), large().bytes);
    assert!(
        visitor
            .notes
            .iter()
            .any(|note| note.contains("fetched once more"))
    );
}

#[test]
fn a_server_without_ranges_starts_anew_and_says_so() {
    let server = Server::start(vec![large()], |request| {
        let mut reply = Reply::status(200).body(large().bytes);
        reply.cut = (request.nth == 0).then_some(1000);
        (request.storage && request.is_get()).then_some(reply)
    });
    let mut visitor = Visitor::of(&server);
    let fetched = visitor.fetch(FILE).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), large().bytes);
    assert!(
        visitor
            .notes
            .iter()
            .any(|note| note.contains("does not resume"))
    );
}

#[test]
fn a_connection_that_always_breaks_keeps_what_came() {
    let server = Server::start(vec![large()], |request| {
        let mut reply = Reply::status(200).body(large().bytes);
        reply.cut = Some(1000);
        (request.storage && request.is_get()).then_some(reply)
    });
    let mut visitor = Visitor::of(&server);
    let text = visitor.fails(FILE);
    assert!(text.contains("1000 bytes are kept"), "{text}");
    assert_eq!(visitor.blobs(), [format!("{}.incomplete", large().etag())]);
}

#[test]
fn an_altered_body_of_the_same_length_is_refused_with_both_digests() {
    let server = Server::start(vec![large()], |request| {
        let mut bytes = large().bytes;
        bytes[7] ^= 1;
        (request.storage && request.is_get()).then(|| Reply::ranged(request, &bytes))
    });
    let mut visitor = Visitor::of(&server);
    let text = visitor.fails(FILE);
    assert!(text.contains("wrong SHA-256"), "{text}");
    assert!(
        text.contains(&large().etag()) && text.contains("found "),
        "{text}"
    );
    assert_eq!(
        server
            .requests()
            .iter()
            .filter(|request| request.storage)
            .count(),
        2
    );
    assert!(visitor.blobs().is_empty());
}

#[test]
fn a_body_altered_once_is_fetched_once_more() {
    let server = Server::start(vec![large()], |request| {
        let mut bytes = large().bytes;
        bytes[7] ^= 1;
        (request.storage && request.nth == 0).then(|| Reply::ranged(request, &bytes))
    });
    let mut visitor = Visitor::of(&server);
    let fetched = visitor.fetch(FILE).unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), large().bytes);
}

#[test]
fn a_server_that_sends_another_length_is_refused() {
    for length in [299_999, 300_001] {
        let server = Server::start(vec![large()], move |request| {
            (request.storage && request.is_get()).then(|| Reply::status(200).body(noise(length)))
        });
        let text = Visitor::of(&server).fails(FILE);
        assert!(text.contains("expected 300000"), "{text}");
    }
}

#[test]
fn a_web_page_of_a_mirror_is_no_hub() {
    let server = Server::plain(|_| Reply::status(200).body("<html>log in</html>"));
    let text = Visitor::of(&server).fails(FILE);
    assert!(
        text.contains("is") && text.contains("a Hugging Face hub?"),
        "{text}"
    );
}

#[test]
fn names_from_the_server_lead_nowhere() {
    for etag in ["\"../../../evil\"", "\"abc\"", ""] {
        let server = Server::plain(move |_| {
            let reply = Reply::status(200).header("X-Repo-Commit", COMMIT);
            reply.header("ETag", etag).body("x")
        });
        let text = Visitor::of(&server).fails(FILE);
        assert!(text.contains("expected a SHA-256"), "{text}");
    }
    let server = Server::plain(|_| Reply::status(200).header("X-Repo-Commit", "../../x"));
    assert!(Visitor::of(&server).fails(FILE).contains("X-Repo-Commit"));
}

#[test]
fn no_hub_at_all() {
    let mut visitor = Visitor::of(&Server::plain(|_| Reply::status(500)));
    visitor.settings.endpoint = "http://127.0.0.1:1".to_string();
    for spec in [FILE, "owner/net"] {
        let text = visitor.fails(spec);
        assert!(
            text.contains("owner/net") && text.contains("HF_ENDPOINT"),
            "{text}"
        );
    }
    visitor.settings.endpoint = "no address".to_string();
    assert!(visitor.fails(FILE).contains("HF_ENDPOINT"));
}
