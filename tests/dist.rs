//! The units in dist/, and what must agree with them: the program, `make install`, docs/operation.md, and systemd,
//! where it is installed.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    node::Simnode,
    tool::{Nobody, fetched, output},
};

/// What systemd can take from a service, and the strictest value; an empty one is an empty list.
const STRICTEST: [(&str, &str); 32] = [
    ("AmbientCapabilities", ""),
    ("CapabilityBoundingSet", ""),
    ("DevicePolicy", "closed"),
    ("DynamicUser", "yes"),
    ("IPAddressDeny", "any"),
    ("KeyringMode", "private"),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("NoNewPrivileges", "yes"),
    ("PrivateDevices", "yes"),
    ("PrivateIPC", "yes"),
    ("PrivateNetwork", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateUsers", "yes"),
    ("ProcSubset", "pid"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHome", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectProc", "invisible"),
    ("ProtectSystem", "strict"),
    ("RemoveIPC", "yes"),
    ("RestrictAddressFamilies", "none"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallErrorNumber", "kill"),
    ("UMask", "0077"),
];

/// The configuration of the service that has no instance name.
const OPTIONS: &str = "/etc/bitcointap/config.toml";

/// A line of a unit.
struct Setting {
    name: String,
    value: String,
    /// Whether a comment is directly above it.
    has_comment: bool,
}

struct Unit(Vec<Setting>);

impl Unit {
    fn read(name: &str) -> Self {
        let text = fs::read_to_string(path(name)).unwrap();
        let mut above = "";
        let mut settings = Vec::new();
        for line in text.lines() {
            if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                let has_comment = above.starts_with('#');
                settings.push(Setting { name: name.to_owned(), value: value.to_owned(), has_comment });
            }
            above = line;
        }
        Self(settings)
    }

    fn values(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|setting| setting.name == name).map(|setting| &*setting.value).collect()
    }

    /// The value of a setting that exists once.
    #[track_caller]
    fn value(&self, name: &str) -> &str {
        let values = self.values(name);
        assert_eq!(values.len(), 1, "{name} is there once");
        values[0]
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn service() -> Unit {
    Unit::read("dist/bitcointap.service")
}

/// The section "As a service" of docs/operation.md.
fn as_a_service() -> String {
    let page = fs::read_to_string(path("docs/operation.md")).unwrap();
    let section = page.split("\n## ").find_map(|section| section.strip_prefix("As a service\n"));
    section.expect("docs/operation.md has it").to_owned()
}

/// `make install` of the tested tool, with these variables.
fn make_install(variables: &[String]) {
    make("install", variables);
}

/// What a target of the Makefile prints.
fn make(target: &str, variables: &[String]) -> String {
    let mut make = Command::new("make");
    // make may run these tests, and this make would then say where it is.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    make.arg("--silent").arg("--directory").arg(env!("CARGO_MANIFEST_DIR")).arg(target);
    let made = make.arg(format!("BINARY={}", env!("CARGO_BIN_EXE_bitcointap"))).args(variables).output().unwrap();
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    String::from_utf8(made.stdout).unwrap()
}

/// All files below a directory, by their paths in it, sorted, with their permissions.
fn files(directory: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                found.push((name, entry.metadata().unwrap().permissions().mode() & 0o7777));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_weaker_than_it_could_be_has_a_reason() {
    let service = service();
    let mut weaker = Vec::new();
    for (name, strictest) in STRICTEST {
        let values = service.values(name);
        assert!(!values.is_empty(), "{name} is left to systemd's default");
        weaker.extend(values.iter().filter(|value| **value != strictest).map(|value| (name, *value)));
    }
    let capabilities = service.value("AmbientCapabilities");
    assert_eq!(
        weaker,
        [
            ("AmbientCapabilities", capabilities),
            ("CapabilityBoundingSet", capabilities),
            ("PrivateUsers", "no"),
            ("ProcSubset", "all"),
            ("RestrictAddressFamilies", "AF_UNIX"),
            ("SystemCallErrorNumber", "EPERM"),
        ]
    );
    // Each line that allows system calls has one, too.
    let allows = |setting: &Setting| setting.name == "SystemCallFilter" && !setting.value.starts_with('~');
    let is_weaker = |setting: &Setting| allows(setting) || weaker.contains(&(&*setting.name, &*setting.value));
    for Setting { name, value, has_comment } in service.0.iter().filter(|setting| is_weaker(setting)) {
        assert!(has_comment, "nothing above {name}={value} says why");
    }
    // A setting that is missing in the list above would need no reason.
    let known: Vec<&str> = STRICTEST.iter().map(|(name, _)| *name).collect();
    let kinds = ["Private", "Protect", "Restrict", "Capability", "Ambient"];
    for Setting { name, .. } in service.0.iter().filter(|it| kinds.iter().any(|kind| it.name.starts_with(kind))) {
        assert!(known.contains(&&**name), "{name} is not in the list of the strictest");
    }
}

#[test]
fn it_has_the_capabilities_that_the_doctor_asks_for() {
    let node = Simnode::start("v31", "");
    let report = Nobody::new().output("-all", &format!("doctor --pid {}", node.pid()));
    let text = String::from_utf8(report.stdout).unwrap();
    let asked = text.lines().find_map(|line| line.trim().strip_prefix("a service:  AmbientCapabilities="));
    let asked = asked.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&report.stderr)));
    let service = service();
    assert_eq!(service.value("AmbientCapabilities"), asked);
    assert_eq!(service.value("CapabilityBoundingSet"), asked);
}

#[test]
fn its_command_is_understood_and_its_socket_is_where_export_listens() {
    let service = service();
    let command = service.value("ExecStart").strip_prefix("/usr/local/bin/bitcointap ").unwrap();
    let help = output(&format!("{command} --help"));
    assert!(help.status.success(), "{help:?}");
    let wrong = output(&format!("{command} --nonsense --help"));
    let is_final = service.value("RestartPreventExitStatus");
    assert_eq!(wrong.status.code().unwrap().to_string(), is_final);
    // A configuration that is wrong, or missing.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    for text in [None, Some("chain = 3\n")] {
        text.into_iter().for_each(|text| fs::write(&file, text).unwrap());
        let wrong = output(&command.replace(OPTIONS, file.to_str().unwrap()));
        assert_eq!(wrong.status.code().unwrap().to_string(), is_final, "{wrong:?}");
    }

    let help = String::from_utf8(help.stdout).unwrap();
    let (_, of_address) = help.split_once("--web.listen-address <ADDRESS>").unwrap();
    let (_, default) = of_address.split_once("[default: ").unwrap();
    let socket = Unit::read("dist/bitcointap.socket");
    assert_eq!(socket.value("ListenStream"), default.split_once(']').unwrap().0);
    assert_eq!(service.value("Requires"), "bitcointap.socket");
}

#[test]
fn the_page_says_what_the_units_have() {
    let (page, service) = (as_a_service(), service());
    let logs = format!("json = \"/var/log/{}/", service.value("LogsDirectory"));
    let address = format!("http://{}/metrics", Unit::read("dist/bitcointap.socket").value("ListenStream"));
    assert!(service.value("ExecStart").contains(OPTIONS));
    // A file in the directory that systemd creates at the first start is right before that start.
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let of_instance = Unit::read("dist/bitcointap@.service").value("LogsDirectory").replace("%i", "not-started");
    fs::write(&config, format!("json = \"/var/log/{of_instance}/events.ndjson\"\n")).unwrap();
    let checked = output(&format!("check-config {}", config.display()));
    assert!(checked.status.success(), "{checked:?}");
    for words in [OPTIONS, &logs, &address, "/usr/local", "/run/credentials/bitcointap.service/"] {
        assert!(page.contains(words), "docs/operation.md does not say {words}");
    }
    let help = String::from_utf8(output("export --help").stdout).unwrap();
    let known: Vec<&str> = help.lines().filter_map(|line| line.trim_start().split([' ', ',']).next()).collect();
    let options = page.split([' ', '`', '"', '\n']).filter(|word| word.starts_with("--") && *word != "--now");
    for option in options {
        assert!(known.contains(&option), "export has no {option}");
    }
}

#[test]
fn an_instance_has_what_the_one_service_has() {
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(path(name)).unwrap();
        text.lines().skip_while(|line| *line != "[Unit]").map(ToOwned::to_owned).collect()
    };
    let (one, instance) = (lines("dist/bitcointap.service"), lines("dist/bitcointap@.service"));
    assert_eq!(one.len(), instance.len());
    let pairs = one.iter().zip(&instance).map(|(one, instance)| (&**one, &**instance));
    let differing: Vec<_> = pairs.filter(|(one, instance)| one != instance && !one.starts_with('#')).collect();
    assert_eq!(
        differing,
        [
            (
                "Description=Prometheus exporter of what a Bitcoin Core node does",
                "Description=Prometheus exporter of what the Bitcoin Core node %i does"
            ),
            ("Requires=bitcointap.socket", "Requires=bitcointap@%i.socket"),
            (
                "ExecStart=/usr/local/bin/bitcointap export --config /etc/bitcointap/config.toml --web.systemd-socket",
                "ExecStart=/usr/local/bin/bitcointap export --config /etc/bitcointap/%i.toml --web.systemd-socket"
            ),
            ("LogsDirectory=bitcointap", "LogsDirectory=bitcointap-%i"),
        ]
    );
    // No two instances would want the same address.
    assert!(Unit::read("dist/bitcointap@.socket").value("ListenStream").contains("%i"));
}

#[test]
fn make_installs_what_packages_have() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [format!("DESTDIR={}", directory.path().display()), "PREFIX=/usr".into()];
    make_install(&variables);
    let units = ["bitcointap.service", "bitcointap.socket", "bitcointap@.service", "bitcointap@.socket"];
    let mut expected = vec![
        "etc/bitcointap/config.toml".to_owned(),
        "usr/share/bash-completion/completions/bitcointap".into(),
        "usr/share/doc/bitcointap/CHANGELOG.md".into(),
        "usr/share/doc/bitcointap/LICENSE".into(),
        "usr/share/doc/bitcointap/README.md".into(),
        "usr/share/doc/bitcointap/example.toml".into(),
        "usr/share/fish/vendor_completions.d/bitcointap.fish".into(),
        "usr/share/man/man1/bitcointap.1".into(),
        "usr/share/zsh/site-functions/_bitcointap".into(),
    ];
    expected.extend(units.map(|name| format!("usr/lib/systemd/system/{name}")));
    // All files of these kinds, with the text of the work tree.
    let mut copied = Vec::new();
    for (from, to, ending) in [
        ("docs", "usr/share/doc/bitcointap", "md"),
        ("docs", "usr/share/doc/bitcointap", "json"),
        ("grafana/dashboards", "usr/share/bitcointap/grafana/dashboards", "json"),
        ("grafana/provisioning", "usr/share/bitcointap/grafana/provisioning", "yml"),
    ] {
        let names = files(&path(from)).into_iter().map(|(name, _)| name).filter(|name| name.ends_with(ending));
        copied.extend(names.map(|name| (format!("{from}/{name}"), format!("{to}/{name}"))));
    }
    let here = fs::read_dir(path("prometheus")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for name in here.filter(|name| name.ends_with(".yml")) {
        copied.push((format!("prometheus/{name}"), format!("usr/share/bitcointap/prometheus/{name}")));
    }
    expected.extend(copied.iter().map(|(_, to)| to.clone()));
    let mut expected: Vec<_> = expected.into_iter().map(|name| (name, 0o644)).collect();
    expected.push(("usr/bin/bitcointap".into(), 0o755));
    expected.sort();
    assert_eq!(files(directory.path()), expected);

    let text = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    for (from, to) in copied {
        assert_eq!(text(&to), fs::read_to_string(path(&from)).unwrap(), "{to}");
    }
    for name in units {
        let source = fs::read_to_string(path(&format!("dist/{name}"))).unwrap();
        assert_eq!(text(&format!("usr/lib/systemd/system/{name}")), source.replace("/usr/local/bin", "/usr/bin"));
    }
    for (file, command) in [
        ("usr/share/man/man1/bitcointap.1", "man"),
        ("usr/share/zsh/site-functions/_bitcointap", "completions zsh"),
        ("usr/share/fish/vendor_completions.d/bitcointap.fish", "completions fish"),
        ("usr/share/bash-completion/completions/bitcointap", "completions bash"),
    ] {
        assert_eq!(text(file).into_bytes(), output(command).stdout, "{file}");
    }

    // Once more, it leaves the options to their owner.
    fs::write(directory.path().join("etc/bitcointap/config.toml"), "chain = \"signet\"\n").unwrap();
    make_install(&variables);
    assert_eq!(text("etc/bitcointap/config.toml"), "chain = \"signet\"\n");
}

#[test]
fn the_debian_package_knows_all_units_and_what_they_leave() {
    let script = |name: &str| fs::read_to_string(path("dist/debian").join(name)).unwrap();
    let names = files(&path("dist")).into_iter().map(|(name, _)| name);
    let units: Vec<_> = names.filter(|name| name.ends_with(".service") || name.ends_with(".socket")).collect();
    assert_eq!(units.len(), 4);
    for unit in &units {
        let running = unit.replace('@', "@*");
        for (name, names_it) in [("postinst", unit.ends_with(".service")), ("prerm", true), ("postrm", true)] {
            let words: Vec<_> =
                script(name).split_whitespace().map(|word| word.trim_matches(['\'', ';']).to_owned()).collect();
            assert_eq!(words.contains(&running), names_it, "{name}: {running}");
        }
        // `systemctl edit` makes this.
        assert!(!unit.contains('@') || script("postrm").contains(&format!("/{unit}.d")), "{unit}");
    }
    let logs = service().value("LogsDirectory").to_owned();
    for place in ["/var/log", "/var/log/private"] {
        assert!(script("postrm").contains(&format!(" {place}/{logs} {place}/{logs}-*")), "{place}");
    }
    let manifest = fs::read_to_string(path("Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("conf-files = [\"{OPTIONS}\"]")));
    assert!(script("postrm").contains("rm -f /etc/bitcointap/*.toml"));

    let packing = fs::read_to_string(path("scripts/package")).unwrap();
    let glibc = packing.lines().find_map(|line| line.strip_prefix("newest_glibc=")).unwrap();
    assert!(manifest.contains(&format!("libc6 (>= {glibc})")));
    assert!(fs::read_to_string(path("README.md")).unwrap().contains(&format!("glibc {glibc}")));
}

#[test]
fn uninstall_leaves_what_is_not_of_install() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [format!("DESTDIR={}", directory.path().display()), "PREFIX=/opt/tools".into()];
    make("install", &variables);
    assert!(!files(directory.path()).is_empty());
    let of_another = directory.path().join("opt/tools/bin/another");
    fs::write(&of_another, "").unwrap();
    assert_eq!(make("uninstall", &variables), "");
    let left = |paths: &[&str]| {
        let found: Vec<String> = files(directory.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, paths);
    };
    left(&["opt/tools/bin/another"]);

    // Without a built program, the installed one says what to remove. Settings of the user stay.
    make("install", &variables);
    let settings = directory.path().join("etc/bitcointap/config.toml");
    fs::create_dir_all(settings.parent().unwrap()).unwrap();
    fs::write(&settings, "chain = \"main\"\n").unwrap();
    let not_built = [&variables[..], &["BINARY=/no/where".into()]].concat();
    assert_eq!(make("uninstall", &not_built), format!("kept, as it is yours: {}\n", settings.display()));
    left(&["etc/bitcointap/config.toml", "opt/tools/bin/another"]);
}

#[test]
fn systemd_finds_nothing_wrong() {
    let Some(analyze) = fetched("systemd-analyze", "REQUIRE_SYSTEMD") else { return };
    // It also looks whether the program exists.
    let directory = tempfile::tempdir().unwrap();
    make_install(&[format!("DESTDIR={}", directory.path().display()), "PREFIX=/usr".into()]);
    let names = ["bitcointap.service", "bitcointap.socket", "bitcointap@.service", "bitcointap@.socket"];
    let units = names.map(|name| directory.path().join("usr/lib/systemd/system").join(name));
    for unit in &units {
        let there = format!("{}/usr/bin/", directory.path().display());
        fs::write(unit, fs::read_to_string(unit).unwrap().replace("/usr/bin/", &there)).unwrap();
    }
    let verified = Command::new(analyze).args(["verify", "--man=no"]).args(units).output().unwrap();
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
}
