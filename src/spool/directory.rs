//! A directory of files of lines, each named by the time of its beginning. In: lines. Out: whole lines only, perhaps compressed. If writing
//! fails, compressed lines wait in memory.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use zstd::stream::write::Encoder;

use super::{
    destination::Destination,
    mend,
    records::{Line, Records},
    rotation::ByTime,
    writing::LOOK_INTERVAL,
};
use crate::{
    archive::{Archive, Limits, Part, Tally},
    privileges,
};

/// Once so many compressed bytes wait, they are written before the next line.
const MOST_WAITING: usize = 64 << 10;

/// Writes lines into files of a directory.
#[derive(Debug)]
pub(super) struct LineDirectory {
    path: PathBuf,
    archive: Archive,
    limits: Limits,
    compresses: bool,
    /// `None` while there is nothing to write.
    file: Option<Begun>,
}

/// A file that has begun.
#[derive(Debug)]
struct Begun {
    part: Part,
    form: Form,
    /// Whether it has taken anything.
    is_used: bool,
}

enum Form {
    /// How many bytes at its end belong to a line that is not complete yet.
    Plain { unended: u64 },
    Compressed {
        encoder: Encoder<'static, Vec<u8>>,
        /// Whether a line is not complete yet.
        is_within: bool,
        /// Events that are not in the file yet.
        events: u64,
        /// When all was last in the file, and whether it still is.
        flushed: Instant,
        is_flushed: bool,
    },
    /// It is complete, but for these last bytes and events.
    Ending { rest: Vec<u8>, events: u64 },
}

impl LineDirectory {
    /// Opens it without capabilities, as it is used later.
    pub(super) fn open(path: &Path, by_time: ByTime) -> Result<Self, String> {
        let ByTime { options, compresses } = by_time;
        let kind = if compresses { mend::COMPRESSED } else { mend::PLAIN };
        let archive = privileges::without_any(|| Archive::open(path, kind, options.keep));
        let archive = archive.map_err(|error| error.to_string())??;
        Ok(Self { path: path.to_owned(), archive, limits: options.limits, compresses, file: None })
    }

    /// The file to write to. Begins one if there is none.
    fn file(&mut self) -> io::Result<&mut Begun> {
        if matches!(&self.file, Some(Begun { form: Form::Ending { .. }, .. })) {
            self.end()?;
        }
        if self.file.is_none() {
            let form = match self.compresses {
                true => Form::compressed()?,
                false => Form::Plain { unended: 0 },
            };
            self.file = Some(Begun { part: self.archive.begin()?, form, is_used: false });
        }
        Ok(self.file.as_mut().expect("it has begun"))
    }

    /// Ends the file, and stores it. After a failure it can be called again.
    fn end(&mut self) -> io::Result<()> {
        let Some(mut begun) = self.file.take() else { return Ok(()) };
        if !begun.is_used {
            self.archive.discard(&begun.part);
            return Ok(());
        }
        begun.form = begun.form.ended()?;
        let result = begun.write_out();
        match result {
            Ok(()) => self.archive.finish(begun.part),
            Err(_) => self.file = Some(begun),
        }
        result
    }

    fn is_due(&self) -> bool {
        let is_due = |file: &Begun| self.limits.are_reached(file.bytes(), file.part.age());
        self.file.as_ref().is_some_and(is_due) && !self.archive.is_storing()
    }
}

impl Begun {
    /// How many bytes it will have with those that wait.
    fn bytes(&self) -> u64 {
        let waiting = match &self.form {
            Form::Plain { .. } => 0,
            Form::Compressed { encoder, .. } => encoder.get_ref().len(),
            Form::Ending { rest, .. } => rest.len(),
        };
        self.part.length() + waiting as u64
    }

    /// Writes compressed bytes that wait.
    fn write_out(&mut self) -> io::Result<()> {
        let waiting = match &mut self.form {
            Form::Plain { .. } => return Ok(()),
            Form::Compressed { encoder, .. } => encoder.get_mut(),
            Form::Ending { rest, .. } => rest,
        };
        self.part.append(waiting)?;
        waiting.clear();
        waiting.shrink_to(2 * MOST_WAITING);
        Ok(())
    }

    /// Writes all that it has taken, each second.
    fn flush_in_time(&mut self) -> io::Result<()> {
        if let Form::Compressed { encoder, is_flushed: false, flushed, .. } = &mut self.form
            && flushed.elapsed() >= LOOK_INTERVAL
        {
            encoder.flush()?;
            self.write_out()?;
            if let Form::Compressed { events, flushed, is_flushed, .. } = &mut self.form {
                (*events, *flushed, *is_flushed) = (0, Instant::now(), true);
            }
        }
        Ok(())
    }
}

impl Form {
    fn compressed() -> io::Result<Self> {
        let encoder = Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?;
        Ok(Self::Compressed { encoder, is_within: false, events: 0, flushed: Instant::now(), is_flushed: true })
    }

    fn ended(self) -> io::Result<Self> {
        Ok(match self {
            Self::Compressed { encoder, events, .. } => Self::Ending { rest: encoder.finish()?, events },
            form @ (Self::Plain { .. } | Self::Ending { .. }) => form,
        })
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain { .. } => "Plain",
            Self::Compressed { .. } => "Compressed",
            Self::Ending { .. } => "Ending",
        })
    }
}

impl Destination for LineDirectory {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn take(&mut self, records: &mut Records) -> io::Result<usize> {
        let begun = self.file()?;
        let bytes = records.bytes();
        let end = records.end_within(bytes.len());
        match &mut begun.form {
            Form::Plain { unended } => {
                begun.part.append(bytes)?;
                *unended = end.map_or(*unended + bytes.len() as u64, |end| (bytes.len() - end) as u64);
            }
            Form::Compressed { encoder, is_within, events, is_flushed, .. } => {
                // A line that has begun goes on in memory: the encoder cannot forget its beginning.
                if !*is_within && encoder.get_ref().len() >= MOST_WAITING {
                    begun.part.append(encoder.get_ref())?;
                    encoder.get_mut().clear();
                }
                encoder.write_all(bytes)?;
                (*is_within, *is_flushed) = (end != Some(bytes.len()), false);
                *events += records.iter().filter(|record| matches!(record.line, Line::Event(_))).count() as u64;
            }
            Form::Ending { .. } => return Err(io::ErrorKind::NotConnected.into()),
        }
        begun.is_used = true;
        Ok(bytes.len())
    }

    fn held(&self) -> u64 {
        match &self.file {
            Some(Begun { form: Form::Compressed { events, .. } | Form::Ending { events, .. }, .. }) => *events,
            Some(Begun { form: Form::Plain { .. }, .. }) | None => 0,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Begun::flush_in_time)
    }

    fn is_full(&self, waiting: usize) -> bool {
        let is_full = |file: &Begun| self.limits.size.is_some_and(|most| file.bytes() + waiting as u64 >= most);
        self.file.as_ref().is_some_and(is_full) && !self.archive.is_storing()
    }

    fn is_unsettled(&self) -> bool {
        self.file.is_some()
    }

    fn look_after(&mut self) -> io::Result<()> {
        if self.is_due() { self.end() } else { self.flush() }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.end()
    }

    fn has_failed(&mut self) -> bool {
        match &mut self.file {
            Some(begun) if !begun.is_used => {
                self.archive.discard(&begun.part);
                self.file = None;
            }
            Some(Begun { part, form: Form::Plain { unended }, .. }) => {
                let whole = part.length() - std::mem::take(unended);
                // If this fails, the next piece tries it again.
                let _ = part.cut(whole);
            }
            Some(_) | None => {}
        }
        true
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file().map(drop)
    }

    fn tally(&self) -> Option<Arc<Tally>> {
        Some(Arc::clone(self.archive.tally()))
    }

    fn goes_on(&self) -> bool {
        self.archive.has_earlier()
    }
}

#[cfg(test)]
mod tests;
