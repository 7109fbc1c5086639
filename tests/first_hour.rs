//! docs/first-hour.md and what must agree with it: the rules, the files and commands that it names, and the metrics of
//! nodes of older releases. tests/alerting.rs sends its test alert.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    exposition::get,
    node::Simnode,
    rules::{Rule, rules, selectors},
    tool::{Exporter, output},
};

/// The releases that differ for the rules, with a layout of the simulated node for each.
const RELEASES: [&str; 3] = ["v23", "v25", "v29"];
/// The recording rule that shows that the chain grows as in the initial download.
const GROWTH: &str = "instance:bitcointap_validation_blocks_connected:increase1h";
/// The rules that it uses, and those that use it, are not what an alert is about.
const GATE: [&str; 3] =
    [GROWTH, "instance:bitcointap_validation_block_height:delta1h", "instance:bitcointap_steady_node_age_seconds"];
/// Fires without a day to compare with, too.
const WITHOUT_A_DAY: &str = "InboundChurnHigh";
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn page() -> String {
    fs::read_to_string(path("docs/first-hour.md")).unwrap()
}

/// Text to copy into a terminal or a file: the lines of code blocks, and what is between backticks.
fn code(page: &str) -> Vec<&str> {
    let blocks = page.lines().filter_map(|line| line.strip_prefix("    "));
    let text = page.split("\n\n").filter(|paragraph| !paragraph.starts_with("    "));
    blocks.chain(text.flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2))).collect()
}

/// Seconds of a duration in Prometheus' form, such as `10m` or `1h30m`.
fn seconds(duration: &str) -> u64 {
    let mut sum = 0;
    let mut number = 0;
    for letter in duration.chars() {
        match letter.to_digit(10) {
            Some(digit) => number = number * 10 + u64::from(digit),
            None => {
                let unit = match letter {
                    's' => 1,
                    'm' => MINUTE,
                    'h' => HOUR,
                    'd' => DAY,
                    other => panic!("{duration} has the unit {other}"),
                };
                sum += number * unit;
                number = 0;
            }
        }
    }
    sum
}

/// The opposite, in hours and minutes.
fn duration(seconds: u64) -> String {
    match (seconds / HOUR, seconds % HOUR / MINUTE) {
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    }
}

#[test]
fn durations_are_read_and_written() {
    for text in ["0m", "90m", "1h30m", "1h", "26h", "1d"] {
        let written = duration(seconds(text));
        assert_eq!(seconds(&written), seconds(text));
    }
    assert_eq!((duration(90 * MINUTE), seconds("1d")), ("1h30m".to_owned(), 24 * HOUR));
}

/// Everything that an expression uses: itself, and the rules that write the records in it, except these.
fn with_records<'a>(expression: &'a str, rules: &'a [Rule], but: &[&str]) -> Vec<&'a str> {
    let mut all = vec![expression];
    let mut next = 0;
    while let Some(&expression) = all.get(next) {
        for selector in selectors(expression).into_iter().filter(|selector| !but.contains(selector)) {
            let rule = rules.iter().find(|rule| rule.record.as_deref() == Some(selector));
            all.extend(rule.map(|rule| rule.expr.as_str()).filter(|expression| !all.contains(expression)));
        }
        next += 1;
    }
    all
}

/// The numbers behind these words, up to the next character that is no digit.
fn numbers_behind<'a>(text: &'a str, words: &'a str) -> impl Iterator<Item = u64> + 'a {
    text.split(words).skip(1).filter_map(|rest| rest.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok())
}

/// What the table must say of a rule, except for the release.
fn row(rule: &Rule, rules: &[Rule]) -> [String; 3] {
    let expressions = with_records(&rule.expr, rules, &[]);
    let compared = with_records(&rule.expr, rules, &GATE);
    let brackets = compared.iter().flat_map(|it| it.split('[').skip(1).map(|rest| rest.split(']').next().unwrap()));
    // Without those of regular expressions.
    let windows = brackets.filter(|it| it.starts_with(|letter: char| letter.is_ascii_digit()));
    let of_a_day = expressions.iter().any(|it| it.contains("offset 1d"));
    // The day is behind the window that is compared.
    let window = windows.map(seconds).filter(|&length| !of_a_day || length < 6 * HOUR).max();
    let looks_back = match window {
        None => "now".to_owned(),
        Some(length) if of_a_day => format!("{}, day before", duration(length)),
        Some(length) => duration(length),
    };

    let lasts = rule.r#for.as_deref().map_or(0, seconds);
    let age = expressions.iter().flat_map(|it| numbers_behind(it, "node_age_seconds > ")).max().unwrap_or(0);
    // A time without something.
    let without = numbers_behind(&rule.expr, "> ").find(|_| rule.expr.trim_end().ends_with(" * 60"));
    let earliest = age + without.map_or(0, |minutes| minutes * MINUTE) + lasts;
    let earliest = match of_a_day {
        false => duration(earliest),
        true if rule.alert.as_deref() == Some(WITHOUT_A_DAY) => {
            format!("{}; compared: {}", duration(earliest), duration(earliest + DAY))
        }
        true => duration(earliest + DAY),
    };
    [earliest, looks_back, duration(lasts)]
}

/// The cells of the table by the alert's name; NoBlock has two.
fn table(page: &str) -> Vec<(String, Vec<String>)> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| [")).map(|row| {
        let (name, rest) = row.split_once("](alerts.md#").unwrap();
        let cells = rest.trim_end_matches(" |").split(" | ").skip(1).map(str::to_owned).collect();
        (name.to_owned(), cells)
    });
    rows.collect()
}

#[test]
fn the_table_says_when_each_alert_can_fire() {
    let (page, rules) = (page(), rules());
    let expected: Vec<(String, [String; 3])> =
        rules.iter().filter_map(|rule| Some((rule.alert.clone()?, row(rule, &rules)))).collect();
    let told: Vec<(String, [String; 3])> =
        table(&page).into_iter().map(|(name, cells)| (name, cells[1..].to_vec().try_into().unwrap())).collect();
    assert_eq!(told, expected);

    let (_, silent) = page.split_once("as in the initial download, these are silent: ").expect("the page says it");
    let silent: BTreeSet<&str> =
        silent.split(".\n").next().unwrap().split([',', ' ', '\n']).filter(|it| it.len() > 3).collect();
    let takes_growth = |rule: &&Rule| with_records(&rule.expr, &rules, &[]).iter().any(|it| it.contains(GROWTH));
    let expected = rules.iter().filter(takes_growth).filter_map(|rule| rule.alert.as_deref()).collect();
    assert_eq!(silent, expected);
}

/// Whether a scrape has a series for a selector. Only matchers with a whole value count.
fn has(scrape: &str, selector: &str) -> bool {
    let (name, matchers) = selector.split_once('{').unwrap_or((selector, "}"));
    let matchers: Vec<&str> = matchers.trim_end_matches('}').split(',').map(str::trim).collect();
    let is_whole = |matcher: &&&str| matcher.contains("=\"") && !matcher.contains("!=");
    scrape.lines().filter(|line| line.split(['{', ' ']).next() == Some(name)).any(|line| {
        let is_met = |matcher: &&str| match matcher.split_once("=\"").unwrap() {
            // Prometheus adds these.
            ("chain" | "job", _) => true,
            _ => line.contains(*matcher),
        };
        matchers.iter().filter(is_whole).all(is_met)
    })
}

#[test]
fn the_table_says_which_release_each_alert_takes() {
    let scrapes = RELEASES.map(|release| {
        let mut node = Simnode::start(release, "--scenario mix --rate 20000 --count 20000 --linger");
        let exporter = Exporter::start(&format!("--pid {} --events all", node.pid()));
        node.fire();
        exporter.settled(&node.read_tally());
        get(&exporter.address, "/metrics").unwrap()
    });
    let rules = rules();
    let told: BTreeMap<String, String> =
        table(&page()).into_iter().map(|(name, cells)| (name, cells[0].clone())).collect();
    for rule in &rules {
        let Some(alert) = &rule.alert else { continue };
        let expressions = with_records(&rule.expr, &rules, &[]);
        let needed = || expressions.iter().flat_map(|it| selectors(it)).filter(|it| !it.contains(":bitcointap_"));
        let release = RELEASES.iter().zip(&scrapes).find(|(_, scrape)| needed().all(|it| has(scrape, it)));
        let (release, _) = release.unwrap_or_else(|| panic!("{alert} takes what no release gives"));
        assert_eq!(told.get(alert), Some(&release.to_string()), "{alert}");
    }
}

#[test]
fn what_the_page_names_is_there() {
    let page = page();
    let makefile = fs::read_to_string(path("Makefile")).unwrap();
    let compose = fs::read_to_string(path("docker-compose.node.yml")).unwrap();
    let words = code(&page).into_iter().flat_map(|line| line.split([' ', '"', '\'', ',', '[', ']']));
    let words: BTreeSet<&str> = words.map(|word| word.trim_end_matches([')', ';', '.'])).collect();
    let mut found = BTreeSet::new();
    for word in words {
        if let Some(name) = word.strip_prefix("/usr/share/bitcointap/") {
            found.insert("a file that is installed");
            let name = name.trim_end_matches("*.json").trim_end_matches('*');
            assert!(path(name).exists(), "{word} is not installed");
        } else if word.starts_with("docker-compose") && word.ends_with(".yml") {
            found.insert("a compose file");
            assert!(path(word).exists(), "there is no {word}");
        } else if let Some((variable, _)) = word.split_once('=').filter(|(name, _)| name.starts_with("NODE_")) {
            found.insert("a choice of it");
            assert!(compose.contains(&format!("${{{variable}:-")), "docker-compose.node.yml has no {variable}");
        } else if word.starts_with("bitcointap") && (word.ends_with(".service") || word.ends_with(".socket")) {
            found.insert("a unit");
            let (name, kind) = word.rsplit_once('.').unwrap();
            let name = name.split_inclusive('@').next().unwrap();
            assert!(path(&format!("dist/{name}.{kind}")).exists(), "there is no unit for {word}");
        }
    }
    for line in code(&page) {
        let mut commands =
            line.split(['|', ';']).flat_map(|it| it.split("&&")).map(|it| it.trim().trim_start_matches("sudo "));
        while let Some((program, arguments)) = commands.next().map(|it| it.split_once(' ').unwrap_or((it, ""))) {
            match program {
                "make" => {
                    found.insert("a target of make");
                    let target = arguments.split(' ').next().unwrap();
                    assert!(makefile.contains(&format!("\n{target}:")), "make has no {target}");
                }
                "bitcointap" => {
                    found.insert("a command of the tool");
                    let help = output(&format!("{} --help", arguments.split('#').next().unwrap()));
                    assert!(help.status.success(), "{line}: {help:?}");
                }
                _ => {}
            }
        }
    }
    let expected = [
        "a choice of it",
        "a command of the tool",
        "a compose file",
        "a file that is installed",
        "a target of make",
        "a unit",
    ];
    assert_eq!(found, BTreeSet::from(expected));
}

#[derive(Deserialize)]
struct Configuration {
    rule_files: Value,
    scrape_configs: Value,
}

#[test]
fn what_is_added_to_a_configuration_of_prometheus_is_that_of_the_example() {
    let page = page();
    let block = page.split("\n\n").find(|block| block.starts_with("    rule_files:")).expect("the page has it");
    let lines: Vec<&str> = block.lines().map(|line| line.strip_prefix("    ").unwrap()).collect();
    let added: Configuration = serde_saphyr::from_str(&lines.join("\n")).unwrap();
    let example = fs::read_to_string(path("prometheus/prometheus.yml")).unwrap();
    let example: Configuration = serde_saphyr::from_str(&example).unwrap();
    assert_eq!((added.rule_files, added.scrape_configs), (example.rule_files, example.scrape_configs));
}
