//! Serves the metrics over HTTP, from a thread of its own. In: a registry and a bound socket. Out: the text format that
//! Prometheus scrapes. However slow or hostile clients are, all that they can hold up is each other, and that not for long.

use std::{convert::Infallible, io, net::TcpListener, pin::pin, sync::Arc, thread, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{IntCounterVec, Registry, TextEncoder};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::metrics::HTTP_PATHS;

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What bounds clients.
#[derive(Clone, Copy)]
struct Limits {
    /// Connections at once; further ones wait in the kernel's queue.
    connections: usize,
    /// For the head of a request to come, from when the connection waits for it.
    head: Duration,
    /// For a connection to be used; after it the answer in hand is the last.
    connection: Duration,
    /// For that last answer.
    last_answer: Duration,
}

const LIMITS: Limits = Limits {
    connections: 64,
    head: Duration::from_secs(10),
    connection: Duration::from_secs(60),
    last_answer: Duration::from_secs(10),
};

/// After the system refused a connection, as when there are no file descriptors left.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// Binds `address`, `host:port`, so that a wrong or used one is told before anything is attached.
///
/// # Errors
/// Those of the system, with the address in their text.
pub fn bind(address: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// Starts the thread that answers on `listener`, until the process ends. `requests` counts by path and code.
///
/// # Errors
/// Those of the system, when the thread cannot be started.
pub fn serve(
    listener: TcpListener,
    telemetry_path: String,
    registry: Registry,
    requests: IntCounterVec,
) -> io::Result<()> {
    start(listener, Site { telemetry_path, registry, requests }, LIMITS)
}

fn start(listener: TcpListener, site: Site, limits: Limits) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _guard = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    thread::Builder::new().name("http".into()).spawn(move || runtime.block_on(accept(listener, site, limits)))?;
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, site: Site, limits: Limits) {
    let site = Arc::new(site);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= limits.connections {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(answer(TokioIo::new(stream), Arc::clone(&site), limits));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

async fn answer(stream: TokioIo<tokio::net::TcpStream>, site: Arc<Site>, limits: Limits) {
    let service = service_fn(|request| {
        let response = site.respond(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let mut connection = pin!(builder.serve_connection(stream, service));
    let ended = match timeout(limits.connection, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.last_answer, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// What is served.
struct Site {
    telemetry_path: String,
    registry: Registry,
    requests: IntCounterVec,
}

impl Site {
    fn respond(&self, request: &Request<impl Body>) -> Response<Full<Bytes>> {
        let [metrics, landing, other] = HTTP_PATHS;
        let path = match request.uri().path() {
            path if path == self.telemetry_path => metrics,
            "/" => landing,
            _ => other,
        };
        let response = if path == other {
            response(StatusCode::NOT_FOUND, PLAIN, "not found\n")
        } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, const { hyper::header::HeaderValue::from_static("GET, HEAD") });
            response
        } else if path == metrics {
            self.metrics()
        } else {
            response(StatusCode::OK, HTML, self.landing_page())
        };
        self.requests.with_label_values(&[path, response.status().as_str()]).inc();
        response
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(text) => response(StatusCode::OK, TEXT_FORMAT, text),
            Err(error) => {
                tracing::error!(%error, "cannot write the metrics as text");
                response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "cannot write the metrics, see the log\n")
            }
        }
    }

    fn landing_page(&self) -> String {
        let path = self.telemetry_path.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>bitcointap</title></head>\n\
             <body>\n<h1>bitcointap</h1>\n<p>Metrics of a Bitcoin Core node: <a href=\"{path}\">{path}</a></p>\n\
             </body>\n</html>\n"
        )
    }
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpStream},
        time::Instant,
    };

    use super::*;
    use crate::{
        metrics::{Metrics, Options, testing::text_of},
        tracepoint::Tracepoints,
    };

    /// A server of new metrics.
    fn server(limits: Limits) -> (SocketAddr, Registry) {
        let metrics = Metrics::new(Tracepoints::default_set(), &Options::default());
        let listener = bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (registry, requests) = (metrics.registry(), metrics.http_requests());
        let site = Site { telemetry_path: "/metrics".into(), registry: registry.clone(), requests };
        start(listener, site, limits).unwrap();
        (address, registry)
    }

    fn connect(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// Head and body of the answer to a request that asks for the connection to be closed.
    fn ask(address: SocketAddr, request: &str) -> (String, String) {
        let mut stream = connect(address);
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    #[test]
    fn serves_metrics_and_a_landing_page_and_counts_requests() {
        let (address, registry) = server(LIMITS);
        let (head, body) = ask(address, "GET /metrics");
        assert!(head.starts_with("http/1.1 200 ok"), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        assert!(body.contains("\nbitcointap_up 0\n"));
        let (_, body_with_query) = ask(address, "GET /metrics?name[]=x");
        assert!(body_with_query.contains("bitcointap_http_requests_total{code=\"200\",path=\"metrics\"} 1\n"));

        let (head, nothing) = ask(address, "HEAD /metrics");
        assert!(head.starts_with("http/1.1 200 ok") && head.contains("content-length: "), "{head}");
        assert_eq!(nothing, "");

        let (head, page) = ask(address, "GET /");
        assert!(head.starts_with("http/1.1 200 ok") && head.contains("text/html"), "{head}");
        assert!(page.contains("<a href=\"/metrics\">"));

        let (head, _) = ask(address, "POST /metrics");
        assert!(head.starts_with("http/1.1 405") && head.contains("allow: get, head"), "{head}");
        assert!(ask(address, "GET /metric").0.starts_with("http/1.1 404"));
        assert!(ask(address, "DELETE /..%2f").0.starts_with("http/1.1 404"));

        let text = text_of(&registry);
        for (path, code, n) in
            [("metrics", 200, 3), ("metrics", 405, 1), ("landing", 200, 1), ("landing", 405, 0), ("other", 404, 2)]
        {
            let line = format!("bitcointap_http_requests_total{{code=\"{code}\",path=\"{path}\"}} {n}\n");
            assert!(text.contains(&line), "{line}");
        }
    }

    #[test]
    fn keeps_a_connection_for_several_requests() {
        let (address, _) = server(LIMITS);
        let mut stream = connect(address);
        for _ in 0..3 {
            stream.write_all(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                answer.push(byte[0]);
            }
            assert!(answer.starts_with(b"HTTP/1.1 200"));
        }
    }

    #[test]
    fn clients_that_send_no_request_are_closed_and_hold_up_others_only_that_long() {
        let (address, _) = server(Limits { connections: 2, head: Duration::from_millis(300), ..LIMITS });
        let begun = Instant::now();
        let mut half_open = connect(address);
        half_open.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
        let _silent = connect(address);
        // Both places are taken.
        assert!(ask(address, "HEAD /metrics").0.starts_with("http/1.1 200"));
        assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
        let mut rest = Vec::new();
        // The end, with or without an answer that says why.
        let _ = half_open.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_client_that_does_not_read_loses_its_place() {
        let limits = Limits {
            connections: 1,
            connection: Duration::from_millis(300),
            last_answer: Duration::from_millis(100),
            ..LIMITS
        };
        let (address, _) = server(limits);
        let mut deaf = connect(address);
        // More than the socket buffers hold of answers.
        let requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
        deaf.set_nonblocking(true).unwrap();
        let _ = deaf.write(&requests);
        assert!(ask(address, "HEAD /metrics").0.starts_with("http/1.1 200"));
    }

    #[test]
    fn an_address_in_use_is_told() {
        let listener = bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let error = bind(&address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
        assert!(bind("nonsense").unwrap_err().to_string().contains("nonsense"));
    }
}
