//! `taper weights download|list`, `taper data download`, and `--weights` with names of the hub.

use crate::server::{COMMIT, Reply, Server, Stored};
use crate::support::Folder;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A folder, the program in it, and a hub.
fn taper(folder: &Folder, server: &Server, arguments: &[&str]) -> Command {
    let mut command = folder.command(arguments);
    for name in [
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HTTP_PROXY",
        "http_proxy",
    ] {
        command.env_remove(name);
    }
    command
        .env("HF_HOME", folder.path("hf"))
        .env("HF_ENDPOINT", &server.endpoint);
    command
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn ok(mut command: Command) -> String {
    let output = command.output().unwrap();
    let (out, errors) = text(&output);
    assert!(output.status.success(), "{errors}");
    out
}

fn fails(mut command: Command) -> String {
    let output = command.output().unwrap();
    let (out, errors) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(out.is_empty(), "{out}");
    let error = errors
        .split("error: ")
        .last()
        .unwrap_or_default()
        .to_string();
    assert!(
        errors.contains("error: ") && error.lines().count() <= 6,
        "{errors}"
    );
    assert!(!errors.contains("panicked"), "{errors}");
    error
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * i / 7 + i) as u8).collect()
}

fn weights() -> Stored {
    Stored::large("model.safetensors", &noise(100_000))
}

#[test]
fn the_path_alone_on_stdout_and_json_with_the_commit() {
    let (folder, server) = (Folder::new(), Server::start(vec![weights()], |_| None));
    let path = ok(taper(
        &folder,
        &server,
        &["weights", "download", "owner/net"],
    ));
    assert_eq!(std::fs::read(path.trim_end()).unwrap(), weights().bytes);
    let arguments = [
        "weights",
        "download",
        "owner/net/model.safetensors",
        "--revision",
        "v1",
        "--json",
    ];
    let json: serde_json::Value =
        serde_json::from_str(&ok(taper(&folder, &server, &arguments))).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["revision"], COMMIT);
    assert_eq!(json["digest"], weights().etag());
    assert_eq!(json["cached"], true);
    let output = taper(
        &folder,
        &server,
        &["weights", "download", "owner/net", "-q"],
    )
    .output()
    .unwrap();
    assert!(text(&output).1.is_empty());
}

#[test]
fn errors_are_short_and_say_what_to_do() {
    let (folder, server) = (Folder::new(), Server::start(vec![weights()], |_| None));
    let run = |arguments: &[&str]| fails(taper(&folder, &server, arguments));
    assert!(run(&["weights", "download", "owner/none"]).contains("no repository owner/none"));
    assert!(run(&["weights", "download", "nothing.pth"]).contains("no such file"));
    let wrong = [
        "weights",
        "download",
        "owner/net",
        "--sha256",
        &"0".repeat(64),
    ];
    let wrong = run(&wrong);
    assert!(
        wrong.contains(&weights().etag()) && wrong.contains("expected 000"),
        "{wrong}"
    );
    let short = run(&["weights", "download", "owner/net", "--sha256", "12"]);
    assert!(short.contains("64 hexadecimal digits"), "{short}");
    let mut offline = taper(
        &folder,
        &server,
        &["weights", "download", "owner/other/x.pth"],
    );
    offline.env("HF_HUB_OFFLINE", "1");
    assert!(fails(offline).contains("HF_HUB_OFFLINE"));
}

#[test]
fn weights_of_the_hub_go_where_a_file_goes() {
    let page = Stored::large("net.pth", b"<html>no checkpoint</html>");
    let (folder, server) = (Folder::new(), Server::start(vec![page], |_| None));
    let input = [
        "run",
        "resnet8",
        "--weights",
        "owner/net/net.pth",
        "--input",
        "i",
        "--output",
        "o",
    ];
    let text = fails(taper(&folder, &server, &input));
    assert!(
        text.contains("owner/net/net.pth") || text.contains("net.pth"),
        "{text}"
    );
    assert_eq!(server.gets(), 2, "the redirect and the body");
}

#[test]
fn two_processes_at_once_fetch_the_file_once() {
    let folder = Folder::new();
    let server = Server::start(vec![weights()], |request| {
        let mut reply = Reply::ranged(request, &weights().bytes);
        reply.delay_ms = 1000;
        (request.storage && request.is_get()).then_some(reply)
    });
    let start = || {
        let mut command = taper(&folder, &server, &["weights", "download", "owner/net"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let both = [start(), start()];
    for process in both {
        let output = process.wait_with_output().unwrap();
        let (path, errors) = text(&output);
        assert!(output.status.success(), "{errors}");
        assert_eq!(std::fs::read(path.trim_end()).unwrap(), weights().bytes);
    }
    let bodies = server
        .requests()
        .iter()
        .filter(|request| request.storage)
        .count();
    assert_eq!(bodies, 1);
}

#[test]
fn a_killed_download_goes_on_where_it_stopped() {
    let folder = Folder::new();
    let server = Server::start(vec![weights()], |request| {
        // The first body stops in the middle and holds the line.
        if !(request.storage && request.nth == 0) {
            return None;
        }
        let reply = Reply::status(200).header("Content-Length", "100000");
        Some(reply.body(&weights().bytes[..40_000]).stall(20_000))
    });
    let arguments = ["weights", "download", "owner/net"];
    let mut first = taper(&folder, &server, &arguments);
    first.stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = first.spawn().unwrap();
    let blobs = folder.path("hf/hub/models--owner--net/blobs");
    let partial = blobs.join(format!("{}.incomplete", weights().etag()));
    wait_for(&partial, 40_000);
    first.kill().unwrap();
    first.wait().unwrap();
    let path = ok(taper(&folder, &server, &arguments));
    assert_eq!(std::fs::read(path.trim_end()).unwrap(), weights().bytes);
    let requests = server.requests();
    let last = requests.iter().rfind(|request| request.storage).unwrap();
    assert_eq!(
        last.headers.get("range").map(String::as_str),
        Some("bytes=40000-")
    );
}

fn wait_for(path: &Path, bytes: u64) {
    for _ in 0..400 {
        if std::fs::metadata(path).is_ok_and(|found| found.len() >= bytes) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{} did not grow to {bytes} bytes", path.display());
}

#[test]
fn no_space_is_told_and_leaves_nothing() {
    let (folder, server) = (Folder::new(), Server::start(vec![weights()], |_| None));
    let plain = taper(&folder, &server, &[]);
    let mut command = Command::new("bash");
    // A limit of 20 blocks of 1024 bytes a file, with an error in place of the signal.
    let script = r#"trap "" XFSZ; ulimit -f 20; exec "$0" weights download owner/net"#;
    command.args(["-c", script]).arg(plain.get_program());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(plain.get_current_dir().unwrap());
    let text = fails(command);
    assert!(
        text.contains("100000 bytes") && text.contains("Free space"),
        "{text}"
    );
    let blobs = folder.path("hf/hub/models--owner--net/blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
    ok(taper(
        &folder,
        &server,
        &["weights", "download", "owner/net"],
    ));
}

#[test]
fn the_list_names_what_is_proved_and_what_is_cached() {
    let (folder, server) = (Folder::new(), Server::start(Vec::new(), |_| None));
    let list = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&ok(taper(&folder, &server, arguments))).unwrap()
    };
    let all = list(&["weights", "list", "--json"]);
    let rows = all["weights"].as_array().unwrap();
    assert_eq!(rows.len(), 14);
    for row in rows {
        for key in [
            "file", "model", "task", "top1", "licence", "bytes", "sha256", "url",
        ] {
            assert!(!row[key].is_null(), "{key}");
        }
        assert_eq!(row["cached"], false);
    }
    let some = list(&["weights", "list", "akamaster*", "--json"]);
    assert_eq!(some["weights"].as_array().unwrap().len(), 4);
    let table = ok(taper(&folder, &server, &["weights", "list", "resnet20-*"]));
    assert!(
        table.contains("BSD-2-Clause") && table.contains("91.73"),
        "{table}"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn a_data_set_is_fetched_verified_found_again_and_read() {
    let shared = std::env::var("TAPER_SHARED_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").into());
    let mnist = Path::new(&shared).join("mnist");
    if !mnist.is_dir() {
        println!("skipped: no MNIST in {shared}");
        return;
    }
    let folder = Folder::new();
    let server = Server::plain(move |request| {
        let name = request.path.rsplit('/').next().unwrap();
        let Ok(bytes) = std::fs::read(mnist.join(name)) else {
            return Reply::status(404);
        };
        let mut reply = Reply::ranged(request, &bytes).header("ETag", "\"1\"");
        reply.cut = (request.nth == 0).then_some(reply.body.len() / 2);
        reply
    });
    let mirror = format!("{}/m", server.storage);
    let arguments = [
        "data", "download", "mnist", "--dir", "d/mnist", "--mirror", &mirror, "--json",
    ];
    let fetch = || -> serde_json::Value {
        serde_json::from_str(&ok(taper(&folder, &server, &arguments))).unwrap()
    };
    let first = fetch();
    assert_eq!(first["cached"], false);
    assert_eq!(first["files"].as_array().unwrap().len(), 4);
    let asked = server.requests().len();
    assert_eq!(asked, 8, "each file was cut once and resumed");
    assert_eq!(fetch()["cached"], true);
    assert_eq!(server.requests().len(), asked);
    let labels = folder.path("d/mnist/t10k-labels-idx1-ubyte.gz");
    std::fs::write(&labels, "half").unwrap();
    assert_eq!(fetch()["cached"], false);
    let wrong = Server::plain(|_| Reply::status(200).body("<html></html>"));
    let other = [
        "data",
        "download",
        "cifar10",
        "--dir",
        "c",
        "--mirror",
        &wrong.endpoint,
    ];
    let text = fails(taper(&folder, &wrong, &other));
    assert!(text.contains("c32a1d4ab5d03f1284b67883e8d87530"), "{text}");
    let text = fails(taper(&folder, &wrong, &["data", "download", "cifar10"]));
    assert!(text.contains("TAPER_DATA"), "{text}");
}
