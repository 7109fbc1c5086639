//! A NATS server, and a client that subscribes. In: the server's program and configuration. Out: what readers get.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use async_nats::{
    Client,
    jetstream::{self, stream},
};
use futures_util::StreamExt;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::tool::{eventually, fetched, free_address, signal};

/// The servers that are here: Debian's, and the newest.
pub fn servers() -> Vec<PathBuf> {
    let new = crate::tool::tools().join("nats-server-new");
    old_server().into_iter().chain(Some(new).filter(|path| path.exists())).collect()
}

pub fn old_server() -> Option<PathBuf> {
    fetched("nats-server", "REQUIRE_NATS")
}

pub struct Server {
    program: PathBuf,
    address: String,
    directory: TempDir,
    child: Child,
}

impl Server {
    /// With further lines of configuration, in which STORE is a folder.
    pub fn start(program: &Path, configuration: &str) -> Self {
        Self::start_at(program, &free_address(), configuration)
    }

    pub fn start_at(program: &Path, address: &str, configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store").display().to_string();
        let text = format!("listen: \"{address}\"\n{}", configuration.replace("STORE", &store));
        fs::write(directory.path().join("configuration"), text).unwrap();
        Self::of(program, address, directory)
    }

    /// With the configuration in a directory, which says that it listens at the address.
    pub fn of(program: &Path, address: &str, directory: TempDir) -> Self {
        let child = run(program, &directory);
        let server = Self { program: program.to_owned(), address: address.to_owned(), directory, child };
        server.wait();
        server
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// The most bytes of a message, as it tells clients.
    pub fn max_payload(&self) -> usize {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async { async_nats::connect(self.url()).await.unwrap().max_payload() })
    }

    /// As a power failure would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends so that what a publisher has just sent is still in the socket, and lost.
    pub fn die_with_what_is_in_the_socket(&mut self) {
        signal(self.child.id(), Signal::STOP);
        thread::sleep(Duration::from_millis(500));
        self.kill();
    }

    pub fn restart(&mut self) {
        self.child = run(&self.program, &self.directory);
        self.wait();
    }

    fn wait(&self) {
        eventually("the server", || TcpStream::connect(&self.address).ok());
    }

    /// Publishes these messages, in order.
    pub fn publish<'a>(&self, messages: impl Iterator<Item = &'a Message>) {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let client = async_nats::connect(self.url()).await.unwrap();
            for Message { subject, headers, payload } in messages {
                let mut map = async_nats::HeaderMap::new();
                headers.iter().for_each(|(name, value)| map.insert(&**name, &**value));
                client.publish_with_headers(subject.clone(), map, payload.clone().into()).await.unwrap();
            }
            client.flush().await.unwrap();
            // Flushing does not say that the server has them. It answers a request after what came before.
            let _ = client.request("$SYS.nobody", "".into()).await;
        });
    }

    /// Makes a stream; one with `most` bytes refuses more.
    pub fn make_stream(&self, name: &str, subjects: &[&str], most: Option<i64>) {
        let config = stream::Config {
            max_bytes: most.unwrap_or(-1),
            discard: stream::DiscardPolicy::New,
            ..stream_of(name, subjects)
        };
        self.try_make(&config).unwrap();
    }

    /// Makes a stream, or changes it.
    pub fn try_make(&self, config: &stream::Config) -> Result<(), String> {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let context = jetstream::new(async_nats::connect(self.url()).await.unwrap());
            let made = context.create_or_update_stream(config.clone()).await;
            made.map(drop).map_err(|error| format!("{error:?}"))
        })
    }

    /// The name of the server that leads a stream's replicas, if it has one.
    pub fn leader(&self, stream: &str) -> Option<String> {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let context = jetstream::new(async_nats::connect(self.url()).await.ok()?);
            context.get_stream(stream).await.ok()?.info().await.ok()?.cluster.clone()?.leader
        })
    }

    /// All messages of a stream, in order.
    pub fn stored(&self, name: &str) -> Vec<Message> {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let context = jetstream::new(async_nats::connect(self.url()).await.unwrap());
            let mut stream = context.get_stream(name).await.unwrap();
            let count = stream.info().await.unwrap().state.messages;
            let config = jetstream::consumer::pull::OrderedConfig::default();
            let consumer = stream.create_consumer(config).await.unwrap();
            let messages = consumer.messages().await.unwrap().take(count as usize);
            messages.map(|message| Message::of(message.unwrap().message.clone())).collect().await
        })
    }
}

/// A stream by its name and subjects.
pub fn stream_of(name: &str, subjects: &[&str]) -> stream::Config {
    stream::Config {
        name: name.into(),
        subjects: subjects.iter().map(|&it| it.to_owned()).collect(),
        ..Default::default()
    }
}

fn run(program: &Path, directory: &TempDir) -> Child {
    let mut command = Command::new(program);
    command.arg("-c").arg(directory.path().join("configuration"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nats-server starts")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A message that came.
#[derive(Clone, Debug)]
pub struct Message {
    pub subject: String,
    pub headers: BTreeMap<String, String>,
    pub payload: Vec<u8>,
}

impl Message {
    fn of(message: async_nats::Message) -> Self {
        let headers = message.headers.iter().flat_map(|headers| headers.iter());
        let headers = headers.map(|(name, values)| (name.to_string(), values[0].to_string())).collect();
        Self { subject: message.subject.to_string(), headers, payload: message.payload.to_vec() }
    }

    pub fn header(&self, name: &str) -> &str {
        &self.headers[name]
    }

    pub fn is_heartbeat(&self) -> bool {
        self.subject.ends_with(".heartbeat")
    }
}

/// A client that subscribes, and connects again when the server was gone.
pub struct Subscriber {
    messages: Arc<Mutex<Vec<Message>>>,
    client: Client,
    runtime: Runtime,
}

impl Subscriber {
    pub fn start(server: &Server, subject: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let messages = Arc::<Mutex<Vec<Message>>>::default();
        let got = Arc::clone(&messages);
        let client = runtime.block_on(async {
            let client = async_nats::connect(server.url()).await.unwrap();
            let mut subscription = client.subscribe(subject.to_owned()).await.unwrap();
            client.flush().await.unwrap();
            tokio::spawn(async move {
                while let Some(message) = subscription.next().await {
                    got.lock().unwrap().push(Message::of(message));
                }
            });
            client
        });
        Self { messages, client, runtime }
    }

    pub fn so_far(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    /// Waits for messages that are enough.
    pub fn until(&self, are_enough: impl Fn(&[Message]) -> bool) -> Vec<Message> {
        eventually("all messages", || Some(self.so_far()).filter(|messages| are_enough(messages)))
    }

    /// All messages that the server has by now, after these.
    pub fn rest(&self, _: Vec<Message>) -> Vec<Message> {
        // The server sends what it has for us before it answers a request of ours.
        let _ = self.runtime.block_on(self.client.request("$SYS.nobody", "".into()));
        self.so_far()
    }
}
