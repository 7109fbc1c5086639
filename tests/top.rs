//! `bitcointap top` in a real terminal, that of tmux, which types keys and reads the screen. `make test` puts tmux into
//! target/tools, from Debian's package; without it these tests say that they were skipped.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use bitcointap::live::Live;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    nats::server::{Server, old_server},
    node::Simnode,
    tool::{Attached, Exporter, bitcointap, eventually, fetched, signal},
};

/// How many it attaches to.
fn tracepoints() -> String {
    format!("{} tracepoints", Live::tracepoints().len())
}

/// A terminal with a shell that runs the tool and then prints its status.
struct Terminal {
    tmux: PathBuf,
    directory: TempDir,
}

impl Terminal {
    fn start(tmux: PathBuf, size: (u16, u16), arguments: &str) -> Self {
        Self::start_by("", tmux, size, arguments)
    }

    /// With words of the shell before it.
    fn start_by(before: &str, tmux: PathBuf, size: (u16, u16), arguments: &str) -> Self {
        let terminal = Self { tmux, directory: tempfile::tempdir().unwrap() };
        let tool = env!("CARGO_BIN_EXE_bitcointap");
        // The shell writes its pid, and stays, so that the test can look at what is left on the screen.
        let script = format!(
            "{before} sh -c 'echo $$ > {0}/pid; exec {tool} top {arguments}' 2>{0}/log; echo status $? mode $(stty -a | grep -o -- '-*icanon'); exec sleep 600",
            terminal.directory.path().display()
        );
        terminal.open(size, &script);
        terminal
    }

    /// With a shell that a person types to, and the tool's name typed there.
    fn start_in_shell(tmux: PathBuf, arguments: &str) -> Self {
        let terminal = Self { tmux, directory: tempfile::tempdir().unwrap() };
        terminal.open((80, 24), "PS1='$ ' ENV= exec sh -i");
        let (tool, pid) = (env!("CARGO_BIN_EXE_bitcointap"), terminal.directory.path().join("pid"));
        terminal.type_line(&format!("clear; sh -c 'echo $$ > {}; exec {tool} top {arguments}'", pid.display()));
        terminal
    }

    fn open(&self, (columns, rows): (u16, u16), script: &str) {
        let [columns, rows] = [columns, rows].map(|number| number.to_string());
        self.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, script]);
    }

    fn type_line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.type_keys(&["Enter"]);
    }

    /// The answer of the shell to a line.
    #[track_caller]
    fn answers(&self, line: &str, answer: &str) {
        self.type_line(line);
        self.shows(answer, |screen| screen.lines().any(|line| line.ends_with(answer)));
    }

    /// The shell has its terminal back as it was: its own screen, the cursor, lines that are edited and echoed.
    #[track_caller]
    fn is_the_shells(&self) {
        let alternate_and_cursor = || self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        eventually("the shell's screen and the cursor", || (alternate_and_cursor() == "0 1\n").then_some(()));
        self.answers("clear; echo mode $(stty -a | grep -o -- '-*icanon')", "mode icanon");
        self.answers("echo $(stty -a | grep -ow -- '-*echo') mode", "echo mode");
    }

    /// As /proc has it; `None` when it has ended.
    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        // The shell looks when it gets a line.
        Some(state).filter(|&state| state != 'Z')
    }

    #[track_caller]
    fn state_is(&self, what: &str, is_so: impl Fn(char) -> bool) {
        eventually(what, || self.state().filter(|&state| is_so(state)));
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.directory.path().join("socket");
        let output =
            Command::new(&self.tmux).arg("-S").arg(socket).args(arguments).env_remove("TMUX").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn type_keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    #[track_caller]
    fn shows(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        eventually(what, || Some(self.screen()).filter(|screen| is_so(screen)))
    }

    fn pid(&self) -> u32 {
        std::fs::read_to_string(self.directory.path().join("pid")).unwrap().trim().parse().unwrap()
    }

    fn signal(&self, number: Signal) {
        signal(self.pid(), number);
    }

    /// What it wrote to standard error.
    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", self.screen());
        }
        let socket = self.directory.path().join("socket");
        let _ = Command::new(&self.tmux).arg("-S").arg(socket).arg("kill-server").output();
    }
}

/// The numbers of the peers, from the top: the words before their addresses.
fn ids(screen: &str) -> Vec<i64> {
    let mut lines = screen.lines().skip_while(|line| !line.contains(" address"));
    let Some((before, _)) = lines.next().and_then(|title| title.split_once(" address")) else { return Vec::new() };
    let place = before.chars().count();
    let id = |line: &str| line.chars().take(place).collect::<String>().split_whitespace().last()?.parse().ok();
    lines.map_while(id).collect()
}

fn has_peers(screen: &str) -> bool {
    ids(screen).len() > 5
}

fn is_stopped(state: char) -> bool {
    state == 'T'
}

fn tmux() -> Option<PathBuf> {
    fetched("tmux", "REQUIRE_TMUX")
}

#[test]
fn keys_sort_and_search_the_peers_that_appear() {
    let Some(tmux) = tmux() else { return };
    let mut node = Simnode::start("v31", "--scenario mix --rate 500");
    node.fire();
    let arguments = format!("--pid {} --interval 0.2 --sort id", node.pid());
    let terminal = Terminal::start(tmux, (80, 24), &arguments);
    // Rates are those of whole seconds, and the first second has to be over.
    let has_rates = |screen: &str| screen.lines().any(|line| line.starts_with("inv "));
    let falls = |screen: &str| ids(screen).len() > 5 && ids(screen).is_sorted_by(|one, other| one > other);
    let screen = terminal.shows("peers, the highest number first", |screen| falls(screen) && has_rates(screen));
    for words in [&*format!("pid {}", node.pid()), &tracepoints(), "0 lost", "command", "id▼", "q quit"] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    terminal.type_keys(&["r"]);
    terminal
        .shows("the lowest first", |screen| screen.contains("id▲") && ids(screen).len() > 5 && ids(screen).is_sorted());
    terminal.type_keys(&[">"]);
    terminal.shows("by address", |screen| screen.contains("address▲"));
    terminal.type_keys(&["/", "Satoshi"]);
    terminal.shows("only Satoshi", |screen| {
        let table = screen.lines().skip_while(|line| !line.contains(" address")).skip(1);
        screen.contains("filter: Satoshi_")
            && ids(screen).len() > 2
            && table.take(ids(screen).len()).all(|line| line.contains("/Satoshi"))
    });
    terminal.type_keys(&["Escape"]);
    // Typed at once, the next key would be read together with this one, as another key.
    terminal.shows("all peers", |screen| screen.contains("q quit") && !screen.contains("filter: Satoshi"));
    terminal.type_keys(&["h"]);
    terminal.shows("help", |screen| screen.contains("Ctrl-C") && screen.contains("filter by a text"));
    terminal.type_keys(&["h"]);
    // Typed together with a change of size, a key is read only with the next one.
    terminal.shows("no help", |screen| screen.contains("q quit") && !screen.contains("Ctrl-C"));
    terminal.tmux(&["resize-window", "-x", "200", "-y", "50"]);
    terminal.shows("the wide screen", |screen| {
        screen.contains("messages out") && screen.contains("network") && ids(screen).len() > 10
    });
    terminal.type_keys(&["q"]);
    let screen = terminal.shows("the shell's screen again", |screen| screen.contains("status 0 mode icanon"));
    assert!(!screen.contains(" address"), "{screen}");
    assert!(terminal.log().contains(&format!("attached to {}", tracepoints())), "{}", terminal.log());
}

#[test]
fn a_node_that_is_restarted_is_followed_and_a_signal_ends_it() {
    let Some(tmux) = tmux() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let arguments = format!("--pid-file {} --interval 0.2", file.display());
    let terminal = Terminal::start(tmux, (100, 30), &arguments);
    terminal.shows("no node yet", |screen| screen.contains("waiting for a node") && screen.contains("the pid file "));
    for _ in 0..2 {
        let mut node = Simnode::start("v31", "--scenario mix --rate 500");
        std::fs::write(&file, node.pid().to_string()).unwrap();
        node.fire();
        let attached = format!("pid {} ", node.pid());
        terminal.shows("attached", |screen| screen.contains(&attached) && ids(screen).len() > 5);
        let waits = format!("is of pid {},", node.pid());
        drop(node);
        terminal.shows("the node's end", |screen| screen.contains(&waits) && ids(screen).is_empty());
    }
    terminal.signal(Signal::TERM);
    terminal.shows("the shell's screen again", |screen| screen.contains("status 0 mode icanon"));
}

#[test]
fn a_recording_is_shown_and_what_it_ends_with_stays() {
    let Some(tmux) = tmux() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("recording");
    let mut node = Simnode::start("v31", "--scenario mix --count 2000 --rate max");
    let mut recorder = Attached::spawn(bitcointap(&format!("record {} --pid {}", file.display(), node.pid())));
    node.fire();
    node.tally();
    assert!(recorder.wait().success());
    let terminal = Terminal::start(tmux, (80, 24), &format!("--replay {} --speed max --interval 0.2", file.display()));
    // A screen that is looked at may be half drawn.
    terminal.shows("the end", |screen| screen.contains("recording  the recording has ended") && ids(screen).len() > 5);
    terminal.signal(Signal::HUP);
    terminal.shows("the shell's screen again", |screen| screen.contains("status 0 mode icanon"));
}

#[test]
fn a_node_of_another_bitcointap_is_shown_until_it_ends() {
    let (Some(tmux), Some(program)) = (tmux(), old_server()) else { return };
    let server = Server::start(&program, "");
    let mut node = Simnode::start("v31", "--scenario mix --rate 500");
    let options = format!("--nats {} --nats.format recording --node-name alice", server.url());
    let exporter = Exporter::start(&format!("--pid {} {options}", node.pid()));
    node.fire();
    let terminal = Terminal::start(tmux, (80, 24), &format!("--source {} --node alice --interval 0.2", server.url()));
    terminal.shows("peers", |screen| screen.contains(&format!("pid {} ", node.pid())) && ids(screen).len() > 5);
    drop(node);
    terminal.shows("the node's end", |screen| screen.contains("the node has ended") && ids(screen).is_empty());
    drop(server);
    terminal.shows("the server's end", |screen| screen.contains("cannot read from NATS"));
    exporter.stop();
    terminal.type_keys(&["q"]);
    terminal.shows("the shell's screen again", |screen| screen.contains("status 0 mode icanon"));
}

#[test]
fn the_shell_has_its_terminal_back_until_fg() {
    let Some(tmux) = tmux() else { return };
    let mut node = Simnode::start("v31", "--scenario mix --rate 500");
    node.fire();
    let terminal = Terminal::start_in_shell(tmux, &format!("--pid {} --interval 0.2", node.pid()));
    terminal.shows("peers", has_peers);
    terminal.type_keys(&["C-z"]);
    terminal.state_is("stopped by a key", is_stopped);
    terminal.is_the_shells();
    terminal.tmux(&["resize-window", "-x", "200", "-y", "50"]);
    terminal.type_line("fg");
    let is_wide = |screen: &str| screen.contains("messages out") && ids(screen).len() > 10;
    let screen = terminal.shows("the wide screen", is_wide);
    assert!(screen.contains("0 lost"), "{screen}");

    terminal.signal(Signal::TSTP);
    terminal.state_is("stopped by a signal", is_stopped);
    terminal.is_the_shells();
    terminal.type_line("fg");
    terminal.shows("peers again", is_wide);
    terminal.type_keys(&["h"]);
    terminal.shows("help", |screen| screen.contains("Ctrl-Z") && screen.contains("fg goes on"));

    // Then nobody can give anything back.
    terminal.signal(Signal::STOP);
    terminal.state_is("stopped for sure", is_stopped);
    terminal.tmux(&["send-keys", "-l", "stty sane; echo mode $(stty -a | grep -o -- '-*icanon')"]);
    // The terminal does not yet turn Enter into a new line.
    terminal.type_keys(&["C-j"]);
    terminal.shows("lines again", |screen| screen.contains("mode icanon"));
    terminal.type_line("fg");
    terminal.shows("all of the screen", |screen| screen.contains("Ctrl-Z") && !screen.contains("mode icanon"));
    terminal.type_keys(&["h"]);
    terminal.shows("what a key does", |screen| is_wide(screen) && !screen.contains("Ctrl-Z"));
    terminal.type_keys(&["q"]);
    terminal.shows("the shell's screen", |screen| !screen.contains(" address"));
    terminal.answers("echo status $?", "status 0");
    terminal.is_the_shells();
}

#[test]
fn in_the_background_it_leaves_the_terminal_alone() {
    let Some(tmux) = tmux() else { return };
    let mut node = Simnode::start("v31", "--scenario mix --rate 500");
    node.fire();
    let terminal = Terminal::start_in_shell(tmux, &format!("--pid {} --interval 0.2", node.pid()));
    terminal.shows("peers", has_peers);
    terminal.signal(Signal::TSTP);
    terminal.state_is("stopped", is_stopped);
    terminal.type_line("bg");
    terminal.state_is("in the background", |state| !is_stopped(state));
    // Long enough to draw.
    thread::sleep(Duration::from_millis(500));
    terminal.is_the_shells();
    terminal.state_is("still running", |state| !is_stopped(state));
    terminal.signal(Signal::TSTP);
    terminal.state_is("stopped in the background", is_stopped);
    terminal.type_line("fg");
    terminal.shows("peers", has_peers);

    terminal.type_keys(&["C-z"]);
    terminal.state_is("stopped again", is_stopped);
    terminal.type_line("bg");
    terminal.state_is("in the background", |state| !is_stopped(state));
    terminal.signal(Signal::TERM);
    eventually("its end", || terminal.state().is_none().then_some(()));
    terminal.is_the_shells();
}

#[test]
fn what_is_lost_while_it_is_stopped_is_told() {
    let Some(tmux) = tmux() else { return };
    let mut node = Simnode::start("v31", "--scenario flood --rate max --count 300000 --linger");
    let arguments = format!("--pid {} --interval 0.2 --ring-buffer-size 8MiB", node.pid());
    let terminal = Terminal::start_in_shell(tmux, &arguments);
    terminal.shows("attached", |screen| screen.contains(&tracepoints()));
    terminal.type_keys(&["C-z"]);
    terminal.state_is("stopped", is_stopped);
    node.fire();
    let fired = node.read_tally().tracepoints();
    terminal.type_line("fg");
    let number = |screen: &str, of: &str| -> Option<u64> {
        let number = screen.lines().flat_map(|line| line.split("  ")).find_map(|piece| piece.strip_suffix(of))?;
        number.replace(',', "").parse().ok()
    };
    let is_shown = |name: &str| Live::tracepoints().iter().any(|tracepoint| tracepoint.name() == name);
    let fired = fired.iter().filter(|(name, _)| is_shown(name)).map(|(_, fired)| fired).sum();
    terminal.shows("all that was fired, and that some of it is lost", |screen| {
        number(screen, " in all") == Some(fired) && number(screen, " lost").is_some_and(|lost| lost > 0)
    });
}

#[test]
fn where_nobody_could_continue_it_control_z_stops_nothing() {
    let Some(tmux) = tmux() else { return };
    let node = Simnode::start("v31", "");
    let terminal = Terminal::start(tmux, (80, 24), &format!("--pid {}", node.pid()));
    terminal.shows("it runs", |screen| screen.contains("0 lost"));
    terminal.type_keys(&["C-z", "h"]);
    terminal.shows("help", |screen| screen.contains("Ctrl-Z"));
}

#[test]
fn it_ends_with_its_terminal_though_no_signal_tells_it() {
    let Some(tmux) = tmux() else { return };
    let node = Simnode::start("v31", "");
    // In a session of its own, which does not have the terminal.
    let terminal = Terminal::start_by("setsid -w", tmux, (80, 24), &format!("--pid {}", node.pid()));
    terminal.shows("it runs", |screen| screen.contains("0 lost"));
    let process = format!("/proc/{}", terminal.pid());
    drop(terminal);
    eventually("its end", || (!Path::new(&process).exists()).then_some(()));
}

#[test]
fn where_it_cannot_be_shown_it_says_so_and_colours_can_be_declined() {
    let output = Command::new(env!("CARGO_BIN_EXE_bitcointap")).arg("top").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("top needs a terminal on standard input and output"), "{error}");

    let Some(tmux) = tmux() else { return };
    let terminal = Terminal::start_by("TERM=dumb", tmux.clone(), (80, 24), "");
    terminal.shows("its end", |screen| screen.contains("status 1 mode icanon"));
    assert!(terminal.log().contains("TERM=dumb says that this one cannot"), "{}", terminal.log());

    let coloured = |before: &str| {
        let mut node = Simnode::start("v31", "--scenario mix --rate 500");
        node.fire();
        let terminal = Terminal::start_by(before, tmux.clone(), (80, 24), &format!("--pid {}", node.pid()));
        terminal.shows("peers", |screen| ids(screen).len() > 5);
        // Escape sequences of colours, among those of what is bold.
        let screen = terminal.tmux(&["capture-pane", "-pe"]);
        let mut sequences = screen.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m'));
        sequences.any(|(sequence, _)| sequence.split(';').any(|it| it.starts_with('3') && it.len() == 2 && it != "39"))
    };
    assert!(coloured("NO_COLOR="));
    assert!(!coloured("NO_COLOR=1"));
}
