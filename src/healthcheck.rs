//! Asks a running `export` whether it serves, as health checks of containers do: an address in, an error out if nothing there answers.
//! The image has neither a shell nor a client of HTTP.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

use bitcointap::http::Address;

use crate::run::Result;

/// How long the server may be silent. One that is well answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the server at `address` for `/-/healthy`.
pub fn healthcheck(address: &Address) -> Result<()> {
    let answer = ask(address).map_err(|error| format!("{address} does not answer: {error}"))?;
    if is_well(&answer) {
        return Ok(());
    }
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Err(format!("{address} is not well: it answers {:?}", String::from_utf8_lossy(line)).into())
}

/// How the answer begins.
fn ask(address: &Address) -> io::Result<Vec<u8>> {
    match address {
        Address::Tcp(address) => over_tcp(TcpStream::connect(address.as_str())?),
        // IPv4 is among all addresses.
        Address::Everywhere(port) => over_tcp(TcpStream::connect(("127.0.0.1", *port))?),
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream)
        }
    }
}

fn over_tcp(stream: TcpStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(stream)
}

fn exchange(mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
    stream.write_all(b"GET /-/healthy HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    let read = stream.take(64).read_to_end(&mut answer);
    // A server of TLS may end the connection by a reset behind its alert.
    if answer.is_empty() {
        read?;
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

/// A server that asks for a password, or for TLS by an alert (RFC 8446, 6), serves, too.
fn is_well(answer: &[u8]) -> bool {
    const ALERT: &[u8] = &[21, 3];
    let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    status.is_some_and(|status| status == b"200" || status == b"401") || answer.starts_with(ALERT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_well() {
        for answer in [&b"HTTP/1.1 200 OK\r\n"[..], b"HTTP/1.0 401 Unauthorized\r\n", &[21, 3, 3, 0, 2, 2, 70]] {
            assert!(is_well(answer), "{answer:?}");
        }
        for answer in [
            &b""[..],
            b"HTTP/1.1 503 Service Unavailable\r\n",
            b"HTTP/1.1 404 Not Found",
            b"HTTP/1.1",
            b"SSH-2.0-x",
            &[22, 3, 3],
        ] {
            assert!(!is_well(answer), "{answer:?}");
        }
    }
}
