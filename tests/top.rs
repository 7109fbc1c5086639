//! `bitcointap top` in a real terminal, that of tmux, which types keys and tells what is on the screen.
//! `make test` puts tmux into target/tools, from Debian's package; without it these tests say that they were skipped.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{
    node::Simnode,
    tool::{eventually, fetched},
};

/// A terminal, in which a shell runs the tool and then tells its status.
struct Terminal {
    tmux: PathBuf,
    directory: TempDir,
}

impl Terminal {
    fn start(tmux: PathBuf, size: (u16, u16), arguments: &str) -> Self {
        let terminal = Self { tmux, directory: tempfile::tempdir().unwrap() };
        let tool = env!("CARGO_BIN_EXE_bitcointap");
        let (columns, rows) = size;
        // It writes its pid; the shell stays, so that what is left on the screen can be looked at.
        let script = format!(
            "sh -c 'echo $$ > {0}/pid; exec {tool} top {arguments}' 2>{0}/log; echo status $? mode $(stty -a | grep -o -- '-*icanon'); exec sleep 600",
            terminal.directory.path().display()
        );
        let [columns, rows] = [columns, rows].map(|number| number.to_string());
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, &script]);
        terminal
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

    fn pid(&self) -> i32 {
        std::fs::read_to_string(self.directory.path().join("pid")).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let socket = self.directory.path().join("socket");
        let _ = Command::new(&self.tmux).arg("-S").arg(socket).arg("kill-server").output();
    }
}

/// The numbers of the peers, from above.
fn ids(screen: &str) -> Vec<i64> {
    let table = screen.lines().skip_while(|line| !line.contains("ADDRESS")).skip(1);
    table.map_while(|line| line.split_whitespace().next()?.parse().ok()).collect()
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
    // Rates are of whole seconds, and the first has to be over.
    let has_rates = |screen: &str| screen.lines().any(|line| line.starts_with("inv "));
    let is_sorted = |screen: &str| ids(screen).len() > 5 && ids(screen).is_sorted() && has_rates(screen);
    let screen = terminal.shows("peers, by number", is_sorted);
    for words in [&format!("attached to pid {}", node.pid()), "0 lost", "MESSAGE", "q quit"] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    terminal.type_keys(&["r"]);
    terminal.shows("the highest number first", |screen| {
        ids(screen).len() > 5 && ids(screen).windows(2).all(|pair| pair[0] > pair[1])
    });
    terminal.type_keys(&["/", "Satoshi"]);
    terminal.shows("only Satoshi", |screen| {
        let table: Vec<&str> = screen.lines().skip_while(|line| !line.contains("ADDRESS")).skip(1).collect();
        screen.contains("/Satoshi_")
            && ids(screen).len() > 2
            && table.iter().take(2).all(|line| line.contains("/Satoshi"))
    });
    terminal.type_keys(&["Escape"]);
    terminal.type_keys(&["h"]);
    terminal.shows("help", |screen| screen.contains("Ctrl-C        quit"));
    terminal.type_keys(&["h"]);
    terminal.tmux(&["resize-window", "-x", "200", "-y", "50"]);
    terminal.shows("the wide screen", |screen| {
        screen.contains("messages out,") && screen.contains("NETWORK") && ids(screen).len() > 10
    });
    terminal.type_keys(&["q"]);
    let screen = terminal.shows("the shell's screen again", |screen| screen.contains("status 0 mode icanon"));
    assert!(!screen.contains("ADDRESS"), "{screen}");
}

#[test]
fn a_node_that_is_restarted_is_followed_and_a_signal_ends_it() {
    let Some(tmux) = tmux() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let arguments = format!("--pid-file {} --interval 0.2", file.display());
    let terminal = Terminal::start(tmux, (100, 30), &arguments);
    terminal.shows("no node yet", |screen| screen.contains("waiting for a node"));
    for _ in 0..2 {
        let mut node = Simnode::start("v31", "--scenario mix --rate 500");
        std::fs::write(&file, node.pid().to_string()).unwrap();
        node.fire();
        let attached = format!("attached to pid {}", node.pid());
        terminal.shows("attached", |screen| screen.contains(&attached) && ids(screen).len() > 5);
        drop(node);
        terminal.shows("the node's end", |screen| screen.contains("the node has ended") && ids(screen).is_empty());
    }
    let pid = rustix::process::Pid::from_raw(terminal.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    terminal.shows("the shell's screen again", |screen| screen.contains("status 0 mode icanon"));
}

#[test]
fn without_a_terminal_it_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_bitcointap")).arg("top").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("top shows a screen, which takes a terminal"), "{error}");
}
