//! Plain addresses: digests in names, pages in a file's place, resumption.

use crate::server::{Reply, Server};
use crate::{Visitor, noise};
use sha2::Digest as _;

/// The bytes, and a name with the first eight digits of their SHA-256.
fn named() -> (Vec<u8>, String) {
    let bytes = noise(20_000);
    let digits: String = sha2::Sha256::digest(&bytes)[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    (bytes, format!("net-{digits}.th"))
}

#[test]
fn eight_digits_in_the_name_decide() {
    let server = Server::plain(|request| match request.path.as_str() {
        "/hop" => Reply::status(302).header("Location", &format!("/{}", named().1)),
        _ => Reply::ranged(request, &named().0),
    });
    let mut visitor = Visitor::of(&server);
    let url = format!("{}/{}", server.storage, named().1);
    let fetched = visitor.fetch(&url).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), named().0);
    assert!(fetched.path.ends_with(named().1));
    assert!(visitor.fetch(&url).unwrap().cached);
    assert_eq!(server.gets(), 1);
    assert!(
        server
            .requests()
            .iter()
            .all(|request| !request.headers.contains_key("authorization"))
    );
    std::fs::write(&fetched.path, noise(19_999)).unwrap();
    assert!(!visitor.fetch(&url).unwrap().cached);
    let other = format!("{}/net-00000000.th", server.storage);
    let text = visitor.fails(&other);
    assert!(text.contains("expected 00000000"), "{text}");
}

#[test]
fn a_page_in_the_files_place_is_refused() {
    for page in [
        "<!DOCTYPE html><html>",
        "version https://git-lfs.github.com/spec/v1\n",
    ] {
        let server = Server::plain(move |_| Reply::status(200).body(page));
        let mut visitor = Visitor::of(&server);
        let text = visitor.fails(&format!("{}/w.pth?token=hf_secret", server.storage));
        assert!(text.contains("expected a file of weights"), "{text}");
    }
}

#[test]
fn without_a_digest_the_first_one_is_kept() {
    let server = Server::plain(|request| Reply::ranged(request, &noise(999)));
    let mut visitor = Visitor::of(&server);
    let url = format!("{}/w.pth", server.storage);
    let fetched = visitor.fetch(&url).unwrap();
    assert!(
        visitor
            .notes
            .iter()
            .any(|note| note.contains("no digest is known"))
    );
    assert!(visitor.fetch(&url).unwrap().cached);
    std::fs::write(&fetched.path, noise(5)).unwrap();
    visitor.settings.offline = true;
    assert!(visitor.fails(&url).contains("damaged"));
    visitor.settings.offline = false;
    visitor.fetch(&url).unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), noise(999));
}

#[test]
fn a_file_that_changed_in_between_is_not_glued_to_the_old_one() {
    let server = Server::plain(|request| {
        let old = noise(20_000);
        let new: Vec<u8> = old.iter().map(|byte| byte ^ 255).collect();
        if request.nth == 0 {
            let mut reply = Reply::status(200).header("ETag", "\"old\"").body(old);
            reply.cut = Some(5_000);
            return reply;
        }
        // As RFC 9110 has it: a range only for the validator that still holds.
        match request.headers.get("if-range").map(String::as_str) {
            Some("\"new\"") => Reply::ranged(request, &new).header("ETag", "\"new\""),
            _ => Reply::status(200).header("ETag", "\"new\"").body(new),
        }
    });
    let mut visitor = Visitor::of(&server);
    let fetched = visitor.fetch(&format!("{}/w.pth", server.storage)).unwrap();
    let new: Vec<u8> = noise(20_000).iter().map(|byte| byte ^ 255).collect();
    assert_eq!(std::fs::read(fetched.path).unwrap(), new);
}

#[test]
fn refusals_of_an_address() {
    for (status, advice) in [
        (404, "check the address"),
        (403, "by hand"),
        (401, "by hand"),
    ] {
        let server = Server::plain(move |_| Reply::status(status));
        let text = Visitor::of(&server).fails(&format!("{}/w.pth", server.storage));
        assert!(
            text.contains(advice) && text.contains(&server.storage),
            "{text}"
        );
    }
}
