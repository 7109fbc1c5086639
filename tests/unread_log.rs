//! A log that nobody reads holds up nothing.

use std::{
    io::{PipeReader, PipeWriter, Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use rustix::{io::ioctl_fionbio, process::Signal};

use crate::{
    exposition::Exposition,
    node::Simnode,
    tool::{all_counted, bitcointap, eventually, free_address, signal},
};

/// Nothing more can be written there until somebody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    for bytes in [&[b'x'; 4096][..], b"x"] {
        while writer.write(bytes).is_ok() {}
    }
    ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

struct Tool(Child);

impl Tool {
    fn spawn(mut command: Command, stderr: PipeWriter) -> Self {
        let command = command.stdout(Stdio::null()).stderr(OwnedFd::from(stderr));
        Self(command.spawn().expect("bitcointap starts"))
    }

    /// Whether it succeeds, when it ends.
    fn wait(mut self) -> bool {
        eventually("the end", || self.0.try_wait().expect("it can be waited for")).success()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn events_are_counted_while_nobody_reads_the_log_and_then_it_tells_what_it_gave_up() {
    let mut node = Simnode::start("v31", "--scenario mix --rate max --count 1000 --linger");
    let (mut reader, writer) = full_pipe();
    let address = free_address();
    // libbpf then says more than waits.
    let arguments =
        format!("export --events all --log.level trace --web.listen-address {address} --pid {}", node.pid());
    let exporter = Tool::spawn(bitcointap(&arguments), writer);
    let scrape = || Exposition::scrape(&address);
    eventually("an attachment", || (scrape()?.sum("tracepoint_attached", &[]) > 0.0).then_some(()));
    node.fire();
    all_counted(&node.read_tally(), scrape);

    let mut log = Vec::new();
    let told = b"lines of it were dropped";
    eventually("how many it dropped", || {
        let mut bytes = [0; 4096];
        let length = reader.read(&mut bytes).unwrap();
        log.extend_from_slice(&bytes[..length]);
        log.windows(told.len()).any(|words| words == told).then_some(())
    });
    signal(exporter.0.id(), Signal::TERM);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("stopped"), "{rest}");
    assert!(exporter.wait());
}

#[test]
fn a_command_ends_although_nobody_reads_its_log() {
    let mut node = Simnode::start("v31", "--scenario mix --rate 1000");
    let tap = format!("tap --pid {} --count 100", node.pid());
    let record = format!("record --pid {} --duration 1 /dev/null", node.pid());
    let failing = "export --web.listen-address 127.0.0.1:0 --pid 1".to_owned();
    node.fire();
    for (arguments, succeeds) in [(tap, true), (record, true), (failing, false)] {
        let (_reader, writer) = full_pipe();
        assert_eq!(Tool::spawn(bitcointap(&arguments), writer).wait(), succeeds, "{arguments}");
    }
}
