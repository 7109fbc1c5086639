//! Recordings that are read one after another: the files of one recording, or a single one. In: inputs. Out: strands, and the entries
//! of each.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::Metadata,
    io::Read,
    sync::Arc,
};

use super::{
    Entry, Error, Limits, Progress, Reader, Unknown, Window,
    outline::{self, Part},
    source::{CountedStream, Input, Name},
};
use crate::{
    capture::{Joined, Run},
    event::Time,
    process::Chain,
    selection::Selection,
};

/// Recordings that are read one after another. A run that goes on in the next file goes on here, too.
pub(super) struct Strand {
    /// When its first event fired. A stream is read to know that.
    pub beginning: Option<Time>,
    /// Its place among all, by what recordings say of their nodes. Of events at the same time, those of the first strand come first.
    pub rank: usize,
    pieces: VecDeque<Piece>,
    /// The input that is read.
    name: Name,
    reader: Option<Reader<Box<dyn Read>>>,
    wanted: Selection,
    window: Window,
    /// For a stream, whose beginning is not known.
    limits: Option<Limits>,
    joined: Option<Joined>,
    progress: Arc<Progress>,
}

enum Piece {
    Part(Part),
    Stream(Name, Box<dyn Read>),
}

/// Which node a recording is of, as far as it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    /// What a JSON line says of it.
    told: Told,
    data_directory: Option<std::path::PathBuf>,
    /// If nothing tells it apart.
    input: Option<Name>,
}

type Told = (Option<String>, BTreeMap<String, String>, Option<String>, Option<&'static str>);

impl Node {
    fn of(run: &Run, input: &Name) -> Self {
        let labels = run.named.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let told = (run.named.node().map(str::to_owned), labels, run.host.clone(), run.chain.map(Chain::name));
        let data_directory = run.data_directory.clone().filter(|_| told.0.is_none());
        let is_nobody = told.0.is_none() && run.host.is_none() && data_directory.is_none();
        Self { told, data_directory, input: is_nobody.then(|| input.clone()) }
    }
}

/// What inputs have.
pub(super) struct Found {
    /// In the order in which they begin.
    pub strands: Vec<Strand>,
    /// Files of directories that are no recordings.
    pub errors: Vec<(Name, Error)>,
}

/// The strands of these inputs.
///
/// # Errors
/// A line that says what is no recording, or why the limits are none.
pub(super) fn strands(
    inputs: Vec<Input>,
    limits: Limits,
    wanted: &Selection,
    progress: &Arc<Progress>,
) -> Result<Found, String> {
    let (mut pieces, mut errors) = (Vec::new(), Vec::new());
    for input in inputs {
        match input {
            Input::Stream(name, stream) => pieces.push(Piece::Stream(name, stream)),
            Input::File(source) => match outline::parts(&source) {
                Ok(parts) => pieces.extend(parts.into_iter().map(Piece::Part)),
                Err(_) if source.has_just_begun() => {}
                Err(error) if source.is_of_directory => errors.push((source.name.clone(), error)),
                Err(error) => return Err(format!("cannot read {}: {error}", source.name)),
            },
        }
    }
    let (window, limits) = window(&pieces, limits)?;
    let mut strands: Vec<Strand> = Vec::new();
    for chain in chains(pieces) {
        let name = chain[0].name().clone();
        let beginning = chain.iter().filter_map(Piece::beginning).min();
        strands.push(Strand {
            beginning,
            rank: 0,
            pieces: chain.into(),
            name,
            reader: None,
            wanted: wanted.clone(),
            window,
            limits,
            joined: None,
            progress: Arc::clone(progress),
        });
    }
    tell_apart(&mut strands);
    let told = |strand: &Strand| strand.node().map(|node| (node.told, node.data_directory));
    strands.sort_by_cached_key(|strand| (told(strand), strand.process()));
    strands.iter_mut().enumerate().for_each(|(rank, strand)| strand.rank = rank);
    strands.sort_by_key(|strand| (strand.beginning, strand.rank));
    for strand in &strands {
        strand.pieces.iter().filter_map(Piece::bytes).for_each(|bytes| progress.adds(bytes));
    }
    Ok(Found { strands, errors })
}

/// The window that limits mean for these. Or the limits, for a single stream.
fn window(pieces: &[Piece], limits: Limits) -> Result<(Window, Option<Limits>), String> {
    let stream = pieces.iter().find_map(|piece| match piece {
        Piece::Stream(name, _) => Some(name),
        Piece::Part(_) => None,
    });
    let window = match stream {
        Some(name) if limits.need_end() => {
            return Err(format!(
                "{name} is a pipe, whose end is not known before it is read: --since and --until with '-' need files"
            ));
        }
        Some(name) if limits.need_beginning() && pieces.len() > 1 => {
            return Err(format!(
                "{name} is a pipe, whose beginning is not known before it is read: with several recordings give \
                 --since and --until as times"
            ));
        }
        Some(_) if limits.need_beginning() => return Ok((Window::default(), Some(limits))),
        Some(_) => limits.of(Time(0), Time(0)),
        None => {
            let parts = || pieces.iter().filter_map(Piece::part);
            let beginning = parts().filter_map(|part| Some(part.beginning?.time)).min().unwrap_or(Time(0));
            let end_of = |part: &Part| Some(part.end().or(part.beginning)?.time);
            let end = if limits.need_end() { parts().filter_map(end_of).max() } else { None };
            limits.of(beginning, end.unwrap_or(Time(0)))
        }
    };
    match window {
        Window { since: Some(since), until: Some(until) } if since > until => {
            Err("--since is later than --until in these recordings".into())
        }
        _ => Ok((window, None)),
    }
}

/// Pieces that follow each other: parts of one recording, by their groups.
fn chains(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let (mut of_recordings, mut chains) = (BTreeMap::<u64, Vec<Part>>::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Part(part) => match part.groups {
                Some(groups) => of_recordings.entry(groups.recording).or_default().push(part),
                None => chains.push(vec![Piece::Part(part)]),
            },
            stream @ Piece::Stream(..) => chains.push(vec![stream]),
        }
    }
    for mut parts in of_recordings.into_values() {
        parts.sort_by_key(|part| part.groups.map(|groups| groups.first));
        // The last group of each chain. A copy of a part begins another chain.
        let mut ends: Vec<(u64, Vec<Piece>)> = Vec::new();
        for part in parts {
            let groups = part.groups.expect("it has groups");
            match ends.iter_mut().find(|(last, _)| *last < groups.first) {
                Some((last, chain)) => {
                    *last = groups.last;
                    chain.push(Piece::Part(part));
                }
                None => ends.push((groups.last, vec![Piece::Part(part)])),
            }
        }
        chains.extend(ends.into_iter().map(|(_, chain)| chain));
    }
    chains
}

/// Notes in each strand whether there are several nodes, and what tells its node from the others.
fn tell_apart(strands: &mut [Strand]) {
    let nodes: Vec<_> = strands.iter().map(Strand::node).collect();
    let distinct: BTreeSet<_> = nodes.iter().flatten().collect();
    if distinct.len() < 2 {
        return;
    }
    let mut alike = BTreeMap::<_, usize>::new();
    distinct.iter().for_each(|node| *alike.entry(node.told.clone()).or_default() += 1);
    for (strand, node) in strands.iter_mut().zip(&nodes) {
        let is_told = node.as_ref().is_some_and(|node| alike[&node.told] == 1 && node.input.is_none());
        strand.joined = Some(Joined { recording: (!is_told).then(|| strand.name.to_string()) });
    }
}

impl Piece {
    fn name(&self) -> &Name {
        match self {
            Self::Part(part) => &part.source.name,
            Self::Stream(name, _) => name,
        }
    }

    fn part(&self) -> Option<&Part> {
        match self {
            Self::Part(part) => Some(part),
            Self::Stream(..) => None,
        }
    }

    fn beginning(&self) -> Option<Time> {
        Some(self.part()?.beginning?.time)
    }

    fn bytes(&self) -> Option<u64> {
        self.part().map(|part| part.range.end - part.range.start)
    }
}

impl Strand {
    /// `None` if it has no run.
    fn node(&self) -> Option<Node> {
        match self.pieces.front()? {
            Piece::Part(_) => {
                let run = self.pieces.iter().filter_map(Piece::part).find_map(|part| part.run.as_ref())?;
                Some(Node::of(run, &self.name))
            }
            Piece::Stream(name, _) => {
                Some(Node { told: Told::default(), data_directory: None, input: Some(name.clone()) })
            }
        }
    }

    /// The process of its first run, and when that was started.
    fn process(&self) -> Option<(i32, u64)> {
        let run = self.pieces.iter().filter_map(Piece::part).find_map(|part| part.run.as_ref())?;
        Some((run.pid, run.start_time.to_bits()))
    }

    /// The input that the last entry came from.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// Whether it will read this file.
    pub(super) fn reads(&self, file: &Metadata) -> bool {
        self.pieces.iter().filter_map(Piece::part).any(|part| part.source.is(file))
    }

    /// What was left out so far, since this build does not know it.
    pub(super) fn unknown(&self) -> Option<&Unknown> {
        self.reader.as_ref().map(Reader::unknown).filter(|unknown| !unknown.is_empty())
    }

    /// The next entry. After an error there may be more.
    pub(super) fn next(&mut self) -> Option<Result<Entry, Error>> {
        loop {
            match self.reader.as_mut().and_then(Iterator::next) {
                Some(Ok(Entry::Run(mut run))) => {
                    run.joined.clone_from(&self.joined);
                    return Some(Ok(Entry::Run(run)));
                }
                Some(Err(Error::Truncated { at, goes_on: None })) if self.name.is_unfinished() => {
                    tracing::warn!(
                        "{} is still being written, or was left by a crash: it has {at} whole bytes",
                        self.name
                    );
                }
                Some(entry) => return Some(entry),
                None => {
                    let (input, at) = self.next_input()?;
                    if let Err(error) = self.go_on_with(input, at) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// The bytes of the next input, and where these begin in it.
    pub(super) fn next_input(&mut self) -> Option<(Box<dyn Read>, u64)> {
        loop {
            let piece = self.pieces.pop_front()?;
            self.name = piece.name().clone();
            let part = match piece {
                Piece::Stream(_, stream) => return Some((Box::new(CountedStream::new(stream, &self.progress)), 0)),
                Piece::Part(part) => part,
            };
            let range = part.within(self.window);
            self.progress.leaves_out((part.range.end - part.range.start) - (range.end - range.start));
            if !range.is_empty() {
                let at = range.start;
                return Some((Box::new(part.bytes(range).counted(&self.progress)), at));
            }
        }
    }

    fn go_on_with(&mut self, input: Box<dyn Read>, at: u64) -> Result<(), Error> {
        match &mut self.reader {
            Some(reader) => reader.go_on_with(input, at),
            None => {
                let reader = Reader::starting_at(input, at, &self.wanted)?.within(self.window);
                self.reader = Some(match self.limits {
                    Some(limits) => reader.within_limits(limits),
                    None => reader,
                });
            }
        }
        Ok(())
    }
}
