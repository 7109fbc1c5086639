//! `healthcheck`, for containers: asks a running `export` whether it serves. In: an address. Out: an error if it does not. The image
//! has neither a shell nor an HTTP client.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

use bitcointap::http::Address;

use crate::result::Result;

/// How long the server may be silent. A healthy one answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the server at `address` for `/-/healthy`.
pub fn healthcheck(address: &Address) -> Result<()> {
    let answer = ask(address).map_err(|error| format!("{address} does not answer: {error}"))?;
    if is_well(&answer) {
        return Ok(());
    }
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Err(format!("{address} is unhealthy: it answers {:?}", String::from_utf8_lossy(line)).into())
}

/// The beginning of the server's answer.
fn ask(address: &Address) -> io::Result<Vec<u8>> {
    match address {
        Address::Tcp(address) => over_tcp(TcpStream::connect(address.as_str())?),
        // "All addresses" includes IPv4's loopback.
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
    match stream.take(64).read_to_end(&mut answer) {
        // A reset may follow the answer.
        _ if !answer.is_empty() => Ok(answer),
        Ok(_) => Err(io::Error::other("it closed the connection")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::Error::other("it sent nothing in time")),
        Err(error) => Err(error),
    }
}

/// Any status below 500 means that the server serves, also one that asks for a password, for TLS or to wait.
fn is_well(answer: &[u8]) -> bool {
    let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2));
    status.is_some_and(|digit| (b'1'..b'5').contains(digit))
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use super::*;

    #[test]
    fn what_a_server_answers_that_is_well_and_what_not() {
        for answer in
            ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 400 Bad Request", "HTTP/1.1 401 Unauthorized", "HTTP/1.1 429 Too"]
        {
            assert!(is_well(answer.as_bytes()), "{answer}");
        }
        for answer in ["", "HTTP/1.1 503 Service Unavailable\r\n", "HTTP/1.1", "HTTP/1.1 x", "SSH-2.0-x"] {
            assert!(!is_well(answer.as_bytes()), "{answer}");
        }
    }

    #[test]
    fn a_server_without_an_answer_is_told() {
        let (client, silent) = UnixStream::pair().unwrap();
        client.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        assert_eq!(exchange(client).unwrap_err().to_string(), "it sent nothing in time");
        drop(silent);
        let (client, server) = UnixStream::pair().unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(exchange(client).unwrap_err().to_string(), "it closed the connection");
    }
}
