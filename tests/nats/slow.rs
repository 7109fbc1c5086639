//! A subscriber that reads nothing. The old server then makes publishers wait, and the new one does not: neither makes the node or the
//! tap wait, and what does not reach other readers is told.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use super::{
    are_in_order, events, lines, published,
    server::{Server, Subscriber, servers},
    told_lost,
};
use crate::{node::Simnode, tool::Exporter};

/// Subscribes to everything, and then reads nothing more.
fn sleeper(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nSUB > 1\r\nPING\r\n").unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while line != "PONG\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the server has closed the connection");
    }
    stream
}

#[test]
fn a_subscriber_that_sleeps_holds_up_neither_the_node_nor_other_readers() {
    for program in servers() {
        // The server gives the sleeper up sooner than by default: after 10 s and 64 MiB.
        let server = Server::start(&program, "write_deadline: \"2s\"\n");
        let subscriber = Subscriber::start(&server, "bitcointap.alice.>");
        let _sleeper = sleeper(&server);
        let mut node = Simnode::start("v31", "--scenario mix --rate 5000 --count 30000");
        let options = format!("--nats {} --node-name alice --bytes hex", server.url());
        let exporter = Exporter::start(&format!("--pid {} --events net,mempool,validation {options}", node.pid()));
        node.fire();
        let fired = published(&node.tally());
        let metrics = exporter.last_line("nats");
        assert_eq!(metrics.sum("events_lost_total", &[]), 0.0);
        let lost = metrics.sum("json_lines_lost_total", &[("sink", "nats")]) as u64;
        let log = exporter.stop();
        let messages = subscriber.until(|messages| events(messages) + lost >= fired);
        let messages = subscriber.rest(messages);
        assert!(!are_in_order(&messages, "bitcointap.alice"), "a reader that reads misses nothing: {log}");
        assert_eq!(events(&messages) + lost, fired, "{log}");
        assert_eq!(told_lost(&lines(&messages)), lost, "{log}");
    }
}
