//! An HTTP server of the tests' own, on the machine's side: content of any size, uploads hashed, git.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

use super::content::{Content, sha256};

/// The server; it ends when dropped.
///
/// `GET /data/SIZE/SEED` answers [`Content`]; `PUT` anywhere answers "LENGTH SHA256" of what came;
/// `/git/REPOSITORY` is git's own http-backend over a directory of repositories.
pub struct HttpServer {
    server: Arc<Server>,
    accepting: Option<JoinHandle<()>>,
    pub port: u16,
}

impl HttpServer {
    /// On a free port of `address`.
    pub fn start(address: IpAddr) -> HttpServer {
        Self::start_on(TcpListener::bind((address, 0)).expect("listen"), None)
    }

    /// The same, with the repositories in a directory.
    pub fn start_with_git(address: IpAddr, repositories: &Path) -> HttpServer {
        Self::start_on(TcpListener::bind((address, 0)).expect("listen"), Some(repositories.to_owned()))
    }

    /// On a socket that listens.
    pub fn start_on(listener: TcpListener, repositories: Option<PathBuf>) -> HttpServer {
        let port = listener.local_addr().expect("address").port();
        let server = Arc::new(Server::from_listener(listener, None).expect("server"));
        let accepting = {
            let server = Arc::clone(&server);
            std::thread::spawn(move || {
                for request in server.incoming_requests() {
                    let repositories = repositories.clone();
                    std::thread::spawn(move || answer(request, repositories.as_deref()));
                }
            })
        };
        HttpServer { server, accepting: Some(accepting), port }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// A client that leaves early is its own test's affair: errors of sending are ignored.
fn answer(mut request: Request, repositories: Option<&Path>) {
    let url = request.url().to_owned();
    if let (Some(path), Some(repositories)) = (url.strip_prefix("/git"), repositories) {
        git(request, path, repositories);
    } else if *request.method() == Method::Put {
        let mut counted = Counted { inner: request.as_reader(), count: 0 };
        let hash = sha256(&mut counted);
        let text = format!("{} {hash}\n", counted.count);
        let _ = request.respond(Response::from_string(text));
    } else if let Some((size, seed)) = content_named(&url) {
        let length = usize::try_from(size).ok();
        let response = Response::new(StatusCode(200), Vec::new(), Content::new(size, seed), length, None);
        let _ = request.respond(response.with_chunked_threshold(usize::MAX));
    } else {
        let _ = request.respond(Response::from_string("not here\n").with_status_code(404));
    }
}

fn content_named(url: &str) -> Option<(u64, u64)> {
    let (size, seed) = url.strip_prefix("/data/")?.split_once('/')?;
    Some((size.parse().ok()?, seed.parse().ok()?))
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

/// Answers by git's http-backend, a CGI program (RFC 3875).
fn git(mut request: Request, path: &str, repositories: &Path) {
    let header = |name: &'static str| {
        let found = request.headers().iter().find(|header| header.field.equiv(name));
        found.map(|header| header.value.as_str().to_owned()).unwrap_or_default()
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut command = Command::new("/usr/lib/git-core/git-http-backend");
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("GIT_PROJECT_ROOT", repositories)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_0", "http.receivepack")
        .env("GIT_CONFIG_VALUE_0", "true")
        .env("GIT_CONFIG_KEY_1", "safe.directory")
        .env("GIT_CONFIG_VALUE_1", "*")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", request.method().to_string())
        .env("CONTENT_TYPE", header("Content-Type"))
        .env("HTTP_CONTENT_ENCODING", header("Content-Encoding"))
        .env("GIT_PROTOCOL", header("Git-Protocol"));
    let mut body = Vec::new();
    let _ = request.as_reader().read_to_end(&mut body);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git-http-backend");
    let mut stdin = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&body);
    });
    let output = child.wait_with_output().expect("git-http-backend").stdout;
    let _ = writer.join();
    let split = output.windows(4).position(|w| w == b"\r\n\r\n").expect("the end of the headers");
    let mut response = Response::from_data(&output[split + 4..]);
    for line in String::from_utf8_lossy(&output[..split]).lines() {
        let (name, value) = line.split_once(':').expect("a header");
        if name == "Status" {
            let code = value.trim().split(' ').next().and_then(|code| code.parse().ok());
            response = response.with_status_code(StatusCode(code.expect("a status")));
        } else {
            response.add_header(Header::from_bytes(name, value.trim()).expect("a header"));
        }
    }
    let _ = request.respond(response);
}
