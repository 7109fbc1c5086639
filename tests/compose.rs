//! docker-compose.yml, docker-compose.node.yml and what must agree with them: what they may do and open, the files that
//! they mount, the versions in Dockerfile and Cargo.toml. These tests need no engine. If `docker compose` is installed,
//! they ask it, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::tool::output;

/// Bitcoin Core's names of chains.
const CHAINS: [&str; 5] = ["main", "test", "testnet4", "signet", "regtest"];
/// The services that may add capabilities, and which ones.
const ADDED: [(&str, &[&str]); 3] = [
    ("publisher", &["BPF", "PERFMON", "SYS_PTRACE"]),
    ("bitcointap", &["BPF", "PERFMON", "SYS_PTRACE"]),
    ("bitcoind", &["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]),
];

#[derive(Deserialize)]
struct Project {
    services: BTreeMap<String, Service>,
    volumes: BTreeMap<String, Option<()>>,
}

/// A key that is not listed here fails: `privileged`, `devices` and `network_mode: host` would have to be added.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    image: String,
    build: Option<Build>,
    profiles: Option<Vec<String>>,
    command: Option<Vec<String>>,
    user: Option<String>,
    pid: Option<String>,
    network_mode: Option<String>,
    cap_drop: Vec<String>,
    #[serde(default)]
    cap_add: Vec<String>,
    security_opt: Vec<String>,
    restart: String,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    ports: Vec<String>,
    healthcheck: Option<serde::de::IgnoredAny>,
    #[serde(rename = "init")]
    _init: Option<bool>,
    #[serde(rename = "read_only")]
    _read_only: Option<bool>,
    #[serde(rename = "logging")]
    _logging: serde::de::IgnoredAny,
    #[serde(rename = "networks")]
    _networks: Option<Vec<String>>,
    #[serde(rename = "stop_grace_period")]
    _stop_grace_period: Option<String>,
    #[serde(rename = "mem_limit")]
    _mem_limit: Option<String>,
    #[serde(rename = "environment")]
    _environment: Option<serde::de::IgnoredAny>,
    #[serde(rename = "depends_on")]
    _depends_on: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Build {
    context: String,
    target: String,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn project() -> Project {
    serde_saphyr::from_str(&read("docker-compose.yml")).unwrap()
}

/// What `docker compose` reads from .env.
fn environment() -> BTreeMap<String, String> {
    let settings = read(".env");
    let settings = settings.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    settings.map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

/// The base images of Dockerfile's stages, by the stage's name.
fn stages() -> BTreeMap<String, String> {
    let dockerfile = read("Dockerfile");
    let from = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    from.map(|line| line.split_once(" AS ").unwrap()).map(|(image, name)| (name.into(), image.into())).collect()
}

#[test]
fn services_have_no_capabilities_but_those_they_need() {
    let added: BTreeMap<_, _> = ADDED.into_iter().collect();
    for (name, service) in project().services {
        assert_eq!(service.cap_drop, ["ALL"], "{name}");
        assert_eq!(service.cap_add, added.get(name.as_str()).copied().unwrap_or_default(), "{name}");
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
    }
}

#[test]
fn the_node_may_end_and_bitcointap_goes_on() {
    let services = project().services;
    let in_namespace: BTreeSet<&str> =
        services.iter().filter(|(_, service)| service.pid.is_some()).map(|(name, _)| name.as_str()).collect();
    assert_eq!(in_namespace, BTreeSet::from(["bitcoind", "bitcointap", "publisher", "simnode"]));
    for name in in_namespace {
        assert_eq!(services[name].pid.as_deref(), Some("service:pause"), "{name}");
    }
    for (name, service) in &services {
        assert_eq!(service.restart, "unless-stopped", "{name}");
        // bitcointap's check is in its image.
        let needs_check = !["pause", "simnode", "bitcointap"].contains(&name.as_str());
        assert_eq!(service.healthcheck.is_some(), needs_check, "{name}");
    }
}

/// A service of docker-compose.node.yml that extends one of docker-compose.yml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extension {
    extends: BTreeMap<String, String>,
    profiles: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
}

#[test]
fn beside_a_node_that_runs_it_is_the_same() {
    let text = read("docker-compose.node.yml");
    let mut file: BTreeMap<String, BTreeMap<String, Value>> = serde_saphyr::from_str(&text).unwrap();
    let mut services = file.remove("services").unwrap();
    let mut ours: Value = services.remove("bitcointap").unwrap();

    // It sees all processes; that is the only further right.
    let mut in_compose: BTreeMap<String, BTreeMap<String, Value>> =
        serde_saphyr::from_str(&read("docker-compose.yml")).unwrap();
    let mut theirs = in_compose.get_mut("services").unwrap().remove("bitcointap").unwrap();
    let mut differs = |key: &str| {
        let of = |service: &mut Value| service.as_object_mut().unwrap().remove(key).unwrap();
        [of(&mut ours), of(&mut theirs)]
    };
    assert_eq!(differs("pid"), ["host", "service:pause"]);
    assert_eq!(differs("ports"), [json!(["127.0.0.1:${NODE_PORT:-10833}:10833"]), json!(["127.0.0.1:10833:10833"])]);
    let [command, without_choice] = differs("command");
    let without_choice: Vec<&str> = without_choice.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let choice = "${NODE_CHAIN:+--chain ${NODE_CHAIN-}}";
    assert_eq!(command, format!("{} {choice}", without_choice.join(" ")));
    assert_eq!(ours, theirs);

    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["alertmanager", "grafana", "prometheus"]);
    for (name, service) in services {
        let service: Extension = serde_json::from_value(service).unwrap();
        let same = [("file", "docker-compose.yml"), ("service", &*name)].map(|(key, value)| (key.into(), value.into()));
        assert_eq!(service.extends, BTreeMap::from(same));
        assert_eq!(service.profiles, ["prometheus"], "only if asked for");
        let labels = "./prometheus/compose/targets/${NODE_CHAIN:-main}.yml:/etc/prometheus/targets.yml:ro";
        let volumes: &[&str] = if name == "prometheus" { &[labels] } else { &[] };
        assert_eq!(service.volumes, volumes, "{name}");
    }
    let volumes: Vec<&str> = file["volumes"].keys().map(String::as_str).collect();
    assert_eq!(volumes, ["alertmanager", "prometheus"]);
}

#[test]
fn all_ports_are_on_loopback() {
    for (name, service) in project().services {
        assert!(service.network_mode.as_deref().is_none_or(|mode| mode == "none"), "{name}");
        for port in service.ports {
            let rest = port.strip_prefix("127.0.0.1:").unwrap_or_else(|| panic!("{name} opens {port}"));
            let (host, container) = rest.split_once(':').unwrap();
            assert_eq!(host, container, "{name}");
        }
    }
    let listens = project().services.remove("bitcointap").unwrap();
    assert_eq!(listens.command.unwrap(), ["export", "--config", "/etc/bitcointap/config.toml"]);
    assert_eq!(listens.volumes, ["./dist/compose.toml:/etc/bitcointap/config.toml:ro"]);
    let checked = output("check-config dist/compose.toml");
    assert!(checked.status.success(), "{checked:?}");
    let dockerfile = read("Dockerfile");
    let command = ["export", "--web.listen-address", ":10833"];
    assert!(dockerfile.ends_with(&format!("\nCMD {command:?}\n")), "the image does the same by itself");
    assert!(read("dist/compose.toml").ends_with("\n[web]\nlisten-address = [\":10833\"]\n"));
    let check = dockerfile.lines().find_map(|line| line.strip_prefix("HEALTHCHECK ")?.split_once(" CMD "));
    let check: Vec<String> = serde_json::from_str(check.expect("the image has a health check").1).unwrap();
    let help = output(&format!("{} --help", check[1..].join(" ")));
    assert!(check[0] == "bitcointap" && help.status.success(), "{help:?}");
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("[default: 127.0.0.1:10833]"), "it asks at the port that {command:?} listens on: {help}");
    assert_eq!(listens.ports, ["127.0.0.1:10833:10833"]);
    assert_eq!(listens.user.as_deref(), Some("0:0"), "an engine gives added capabilities to no other user");
}

#[test]
fn events_are_published_to_a_server_that_takes_blocks() {
    let mut services = project().services;
    let [publisher, server] = ["publisher", "nats"].map(|name| services.remove(name).unwrap());
    for service in [&publisher, &server] {
        assert_eq!(service.profiles.as_deref(), Some(&["nats".to_owned()][..]), "only if asked for");
    }
    let command = publisher.command.unwrap().join(" ").replace("${NODE_NAME:?see .env}", &environment()["NODE_NAME"]);
    let help = output(&format!("{command} --help"));
    assert!(help.status.success() && command.contains("nats://nats:4222"), "{command}: {help:?}");
    assert_eq!(server.ports, ["127.0.0.1:4222:4222"]);
    assert_eq!(server.volumes, ["./dist/nats-server.conf:/etc/nats/nats-server.conf:ro"]);
    let configuration = read("dist/nats-server.conf");
    for words in ["listen: \"0.0.0.0:4222\"", "http: \"127.0.0.1:8222\"", "max_payload: 16MB"] {
        assert!(configuration.contains(words), "{words}");
    }
}

#[test]
fn images_have_versions() {
    let images = project().services.into_values().map(|service| service.image).chain(stages().into_values());
    for image in images.filter(|image| image != "scratch") {
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
        assert!(tag.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) && tag.contains('.'), "{image}");
    }
}

#[test]
fn what_is_built_has_the_version_of_the_crate_and_its_rust() {
    let (services, stages) = (project().services, stages());
    let built = services.values().filter_map(|service| Some((&service.image, service.build.as_ref()?)));
    let built: BTreeMap<&str, &str> = built
        .map(|(image, build)| {
            assert_eq!(build.context, ".");
            assert!(stages.contains_key(&build.target), "Dockerfile has no {}", build.target);
            let (name, version) = image.split_once(':').unwrap();
            assert_eq!(version, env!("CARGO_PKG_VERSION"));
            (name, build.target.as_str())
        })
        .collect();
    assert_eq!(built, BTreeMap::from([("bitcointap", "bitcointap"), ("bitcointap-simnode", "simnode")]));
    assert!(
        read("Dockerfile").rsplit("\nFROM ").next().unwrap().contains(" AS bitcointap\n"),
        "the last is the default"
    );

    let (version, system) = stages["build"].strip_prefix("rust:").unwrap().split_once('-').unwrap();
    let number = |version: &str| version.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
    assert!(number(version) >= number(env!("CARGO_PKG_RUST_VERSION")), "{version} is too old");
    // A program linked against one release's libraries runs with those of the same release: bookworm is 12.
    assert_eq!(system, "slim-bookworm");
    assert!(stages["simnode"].starts_with("debian:12."), "{}", stages["simnode"]);
    assert_eq!(stages["simnode"], services["pause"].image, "fetched once");
    assert_eq!(stages["bitcointap"], "scratch", "nothing but the program is in it");
}

#[test]
fn the_image_says_what_it_is() {
    let dockerfile = read("Dockerfile");
    let (_, labels) = dockerfile.split_once("\nLABEL ").unwrap();
    let labels: BTreeMap<&str, &str> = labels
        .split(" \\\n")
        .map(|label| label.trim().strip_prefix("org.opencontainers.image.").unwrap())
        .map(|label| label.lines().next().unwrap().split_once('=').unwrap())
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect();
    let expected = [
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("revision", "$REVISION"),
        ("source", env!("CARGO_PKG_REPOSITORY")),
        ("title", env!("CARGO_PKG_NAME")),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    assert_eq!(labels, BTreeMap::from(expected));
}

#[test]
fn mounts_exist_for_each_chain() {
    let project = project();
    assert_eq!(environment()["CHAIN"], "signet");
    for (name, service) in &project.services {
        for volume in &service.volumes {
            // Of `${CHAIN:?…}` that is the only colon before the container's path.
            let volume = volume.replace("${CHAIN:?see .env}", "CHAIN");
            let parts: Vec<&str> = volume.split(':').collect();
            match parts.as_slice() {
                [source, _, "ro"] if source.starts_with("./") => {
                    for chain in CHAINS {
                        let source = source.replace("CHAIN", chain);
                        assert!(path(&source).exists(), "{name} mounts {source}");
                    }
                }
                [source, _] => assert!(project.volumes.contains_key(*source), "{name} has no volume {source}"),
                _ => panic!("{name} mounts {volume}"),
            }
        }
    }
}

#[derive(Debug, Deserialize, PartialEq)]
struct Target {
    targets: Vec<String>,
    labels: BTreeMap<String, String>,
}

#[test]
fn prometheus_scrapes_bitcointap_as_of_its_chain() {
    for chain in CHAINS {
        let targets: Vec<Target> =
            serde_saphyr::from_str(&read(&format!("prometheus/compose/targets/{chain}.yml"))).unwrap();
        let labels = BTreeMap::from([("chain".to_owned(), chain.to_owned())]);
        assert_eq!(targets, [Target { targets: vec!["bitcointap:10833".to_owned()], labels }]);
    }
    assert_eq!(fs::read_dir(path("prometheus/compose/targets")).unwrap().count(), CHAINS.len());
    let mounts = project().services.remove("prometheus").unwrap().volumes;
    let config = read("prometheus/compose/prometheus.yml");
    for name in ["bitcointap.rules.yml", "targets.yml"] {
        assert!(mounts.iter().any(|mount| mount.ends_with(&format!(":/etc/prometheus/{name}:ro"))), "{name}");
        assert!(config.contains(name), "{name}");
    }
    assert!(config.contains("job_name: bitcointap\n") && config.contains("[alertmanager:9093]"), "{config}");
}

#[test]
fn the_environment_chooses_a_profile_that_exists() {
    let services = project().services;
    let profiles: BTreeSet<&str> =
        services.values().flat_map(|service| service.profiles.iter().flatten()).map(String::as_str).collect();
    assert_eq!(profiles, BTreeSet::from(["demo", "nats", "node"]));
    assert_eq!(environment()["COMPOSE_PROFILES"], "node");
}

/// Both generations of it, where they are installed; neither needs an engine for this.
#[test]
fn docker_compose_accepts_the_file() {
    for (program, before) in [("docker", &["compose"][..]), ("docker-compose", &[])] {
        let run =
            |arguments: &[&str]| Command::new(program).args(before).args(arguments).current_dir(path(".")).output();
        if !run(&["version"]).is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: there is no {program} {}", before.join(" "));
            continue;
        }
        for (profile, node, other) in [("node", "bitcoind", "simnode"), ("demo", "simnode", "bitcoind")] {
            let output = run(&["--profile", profile, "config"]).unwrap();
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            let output = run(&["--profile", profile, "config", "--services"]).unwrap();
            let names = String::from_utf8(output.stdout).unwrap();
            assert!(names.lines().any(|name| name == node), "{program} has no {node} in {names}");
            // The old generation lists those of all profiles.
            assert!(before.is_empty() || names.lines().all(|name| name != other), "{program} has {other} in {names}");
        }
        // The old generation cannot extend a service that depends on another one.
        if !before.is_empty() {
            let beside_a_node = ["--file", "docker-compose.node.yml"];
            for (profile, count) in [(&[][..], 1), (&["--profile", "prometheus"], 4)] {
                let output = run(&[&beside_a_node, profile, &["config", "--services"]].concat()).unwrap();
                let names = String::from_utf8(output.stdout).unwrap();
                assert_eq!(names.lines().count(), count, "{names}{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}
