//! A hub on loopback, with faults on order, and a second origin to which large files are redirected.

use sha1::Digest as _;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The commit that every branch points to.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Asked of the storage, not of the hub itself.
    pub storage: bool,
    /// How often the same was asked before, of the same origin.
    pub nth: usize,
}

impl Request {
    pub fn is_get(&self) -> bool {
        self.method == "GET"
    }
}

/// What is answered.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub cut: Option<usize>,
    /// Wait before the body.
    pub delay_ms: u64,
    /// Hold the connection after the body.
    pub stall_ms: u64,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn stall(mut self, milliseconds: u64) -> Self {
        self.stall_ms = milliseconds;
        self
    }

    /// The whole, or what a range asks for.
    pub fn ranged(request: &Request, bytes: &[u8]) -> Self {
        let from = request.headers.get("range").and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .split('-')
                .next()?
                .parse::<usize>()
                .ok()
        });
        match from {
            None => Self::status(200).body(bytes),
            Some(from) if from < bytes.len() => Self::status(206)
                .header(
                    "Content-Range",
                    &format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
                )
                .body(&bytes[from..]),
            Some(_) => Self::status(416),
        }
    }
}

/// A file of the one repository `owner/net`.
#[derive(Debug, Clone)]
pub struct Stored {
    pub path: String,
    pub bytes: Vec<u8>,
    /// In large-file storage: verified by SHA-256, and redirected.
    pub large: bool,
}

impl Stored {
    pub fn large(path: &str, bytes: &[u8]) -> Self {
        Self {
            path: path.into(),
            bytes: bytes.into(),
            large: true,
        }
    }

    pub fn small(path: &str, bytes: &[u8]) -> Self {
        Self {
            large: false,
            ..Self::large(path, bytes)
        }
    }

    pub fn etag(&self) -> String {
        match self.large {
            true => hexadecimal(&sha2::Sha256::digest(&self.bytes)),
            false => {
                let mut hasher = sha1::Sha1::new();
                hasher.update(format!("blob {}\0", self.bytes.len()));
                hasher.update(&self.bytes);
                hexadecimal(&hasher.finalize())
            }
        }
    }
}

type Fault = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// Runs until dropped.
pub struct Server {
    pub endpoint: String,
    pub storage: String,
    log: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// `fault` answers first; what it leaves is answered as a hub does.
    pub fn start(
        files: Vec<Stored>,
        fault: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let server = Self {
            endpoint: address(&hub),
            storage: address(&storage),
            log: Arc::default(),
            stop: Arc::default(),
        };
        let (files, fault): (Arc<Vec<Stored>>, Arc<Fault>) = (Arc::new(files), Arc::new(fault));
        for (listener, is_storage) in [(hub, false), (storage, true)] {
            let (files, fault) = (Arc::clone(&files), Arc::clone(&fault));
            let (log, stop) = (Arc::clone(&server.log), Arc::clone(&server.stop));
            let redirect = server.storage.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { return };
                    let (files, fault) = (Arc::clone(&files), Arc::clone(&fault));
                    let (log, redirect) = (Arc::clone(&log), redirect.clone());
                    std::thread::spawn(move || {
                        let _ = serve(stream, is_storage, &files, &*fault, &log, &redirect);
                    });
                }
            });
        }
        server
    }

    /// A server that answers every request by `answer`.
    pub fn plain(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Vec::new(), move |request| Some(answer(request)))
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// How many bodies were asked for.
    pub fn gets(&self) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.is_get())
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for address in [&self.endpoint, &self.storage] {
            let _ = TcpStream::connect(address.trim_start_matches("http://"));
        }
    }
}

fn serve(
    stream: TcpStream,
    storage: bool,
    files: &[Stored],
    fault: &Fault,
    log: &Mutex<Vec<Request>>,
    redirect: &str,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = read(&mut reader)?;
    request.storage = storage;
    {
        let mut log = log.lock().unwrap();
        request.nth = log
            .iter()
            .filter(|other| {
                (&other.method, &other.path, other.storage)
                    == (&request.method, &request.path, storage)
            })
            .count();
        log.push(request.clone());
    }
    let reply = fault(&request).unwrap_or_else(|| answer(&request, files, redirect));
    write(stream, &request, &reply)
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Request> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (method, path) = (method.to_string(), path.to_string());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_string()),
            None => break,
        };
    }
    if let Some(length) = headers
        .get("content-length")
        .and_then(|l| l.parse::<u64>().ok())
    {
        std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    }
    Ok(Request {
        method,
        path,
        headers,
        storage: false,
        nth: 0,
    })
}

fn write(mut stream: TcpStream, request: &Request, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} status\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !reply
        .headers
        .iter()
        .any(|(name, _)| name == "Content-Length")
    {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    std::thread::sleep(std::time::Duration::from_millis(reply.delay_ms));
    if request.method != "HEAD" {
        let sent = reply.cut.unwrap_or(reply.body.len());
        stream.write_all(&reply.body[..sent.min(reply.body.len())])?;
    }
    stream.flush()?;
    std::thread::sleep(std::time::Duration::from_millis(reply.stall_ms));
    Ok(())
}

/// As the hub answers: digest, size and commit in the headers, large files elsewhere.
fn answer(request: &Request, files: &[Stored], redirect: &str) -> Reply {
    let path = request.path.split('?').next().unwrap();
    if request.storage {
        let stored = files.iter().find(|file| path == format!("/{}", file.path));
        return stored.map_or(Reply::status(404), |file| {
            Reply::ranged(request, &file.bytes)
        });
    }
    if path.starts_with("/api/models/owner/net/tree/") {
        let entries: Vec<String> = files
            .iter()
            .map(|file| {
                let (path, size) = (&file.path, file.bytes.len());
                format!(r#"{{"type":"file","oid":"00","size":{size},"path":"{path}"}}"#)
            })
            .collect();
        let body = format!("[{}]", entries.join(","));
        return Reply::status(200)
            .header("Content-Type", "application/json")
            .body(body);
    }
    let missing = |code: &str| Reply::status(404).header("X-Error-Code", code);
    let Some(rest) = path.strip_prefix("/owner/net/resolve/") else {
        return missing("RepoNotFound");
    };
    let Some((revision, name)) = rest.split_once('/') else {
        return missing("EntryNotFound");
    };
    if ![COMMIT, "main", "v1"].contains(&revision) {
        return missing("RevisionNotFound");
    }
    let Some(file) = files.iter().find(|file| file.path == name) else {
        return missing("EntryNotFound");
    };
    let tag = format!("\"{}\"", file.etag());
    if file.large {
        return Reply::status(302)
            .header("X-Repo-Commit", COMMIT)
            .header("X-Linked-ETag", &tag)
            .header("X-Linked-Size", &file.bytes.len().to_string())
            .header("ETag", "\"of-the-redirect\"")
            .header("Location", &format!("{redirect}/{name}?signature=1"));
    }
    Reply::ranged(request, &file.bytes)
        .header("X-Repo-Commit", COMMIT)
        .header("ETag", &tag)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
