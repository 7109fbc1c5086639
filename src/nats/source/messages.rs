//! Puts messages together. In: messages of one subject, of which some may be missing. Out: the entries of a recording.

use std::{cell::RefCell, io, rc::Rc};

use async_nats::Message;

use crate::{
    recording::{END_OF_GROUP, Entry, Error, Reader},
    selection::Selection,
};

/// The most bytes of a block that comes in parts. One with the largest message has fewer.
const MOST_BYTES: usize = 24 << 20;

/// Messages of one subject.
pub(super) struct Messages {
    wanted: Selection,
    run: String,
    /// The number of the next message, if one has come.
    next: Option<u64>,
    /// Whether messages are missing, and no group has begun since.
    is_in_hole: bool,
    /// Parts of a block.
    parts: Vec<u8>,
    reader: Option<Reader<Input>>,
    input: Input,
}

/// The bytes that are not read yet.
#[derive(Clone, Default)]
struct Input(Rc<RefCell<io::Cursor<Vec<u8>>>>);

impl Input {
    fn put(&self, bytes: &[u8]) {
        let mut cursor = self.0.borrow_mut();
        let at = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let held = cursor.get_mut();
        held.drain(..at.min(held.len()));
        held.extend_from_slice(bytes);
        held.shrink_to(1 << 20);
        cursor.set_position(0);
    }
}

impl io::Read for Input {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(bytes)
    }
}

impl Messages {
    pub(super) fn new(wanted: &Selection) -> Self {
        Self {
            wanted: wanted.clone(),
            run: String::new(),
            next: None,
            is_in_hole: false,
            parts: Vec::new(),
            reader: None,
            input: Input::default(),
        }
    }

    /// Takes a message. Gives whether another publisher begins with it, whose numbers are its own.
    pub(super) fn put(&mut self, message: &Message) -> bool {
        let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str());
        let place = header("Bitcointap-Number").and_then(|number| number.parse::<u64>().ok());
        let (Some(run), Some(place)) = (header("Bitcointap-Run"), place) else { return false };
        let is_new = run != self.run;
        let is_another = is_new && !self.run.is_empty();
        if is_new {
            *self = Self { run: run.to_owned(), ..Self::new(&self.wanted) };
        }
        let expected = self.next.unwrap_or(place);
        if place < expected {
            // It comes too late, or once more.
            return is_another;
        }
        self.next = place.checked_add(1);
        if place > expected {
            self.is_in_hole = true;
            self.parts.clear();
        }
        let part = header("Bitcointap-Part").and_then(|part| part.split_once('/'));
        if self.is_in_hole || self.reader.is_none() && self.parts.is_empty() {
            let is_first = part.is_none_or(|(place, _)| place == "1");
            if header("Bitcointap-Group").is_none() || !is_first {
                return is_another;
            }
            self.is_in_hole = false;
        }
        if self.parts.len() + message.payload.len() > MOST_BYTES {
            self.parts.clear();
            self.reader = None;
            return is_another;
        }
        self.parts.extend_from_slice(&message.payload);
        if part.is_none_or(|(place, all)| place == all) {
            let bytes = std::mem::take(&mut self.parts);
            self.read(&bytes);
        }
        is_another
    }

    fn read(&mut self, bytes: &[u8]) {
        if self.reader.is_some() {
            return self.input.put(bytes);
        }
        self.input = Input::default();
        self.input.put(bytes.strip_prefix(&END_OF_GROUP).unwrap_or(bytes));
        self.reader = Reader::new(self.input.clone(), &self.wanted).map(Reader::of_stream).ok();
    }

    /// How many events of the run have not come.
    pub(super) fn missed(&self) -> u64 {
        self.reader.as_ref().map_or(0, Reader::missed)
    }

    /// The next entry of the messages so far. After an error, reading goes on with the next group.
    pub(super) fn next(&mut self) -> Option<Result<Entry, Error>> {
        let entry = self.reader.as_mut()?.next();
        if matches!(entry, Some(Err(_))) {
            self.reader = None;
        }
        entry
    }
}

/// For `fuzzing`.
#[cfg(any(fuzzing, all(test, feature = "http")))]
pub(crate) mod fuzzing {
    use super::{Entry, Message, Messages, Selection};

    /// What a made-up message has besides its bytes.
    #[derive(Clone, Copy)]
    pub(crate) struct Form(pub u8);

    impl Form {
        fn has(self, bit: u8) -> bool {
            self.0 >> bit & 1 == 1
        }

        /// Whether its bytes are to make up a recording.
        pub(crate) fn is_recording(self) -> bool {
            self.has(6)
        }
    }

    /// Reads messages. Bit 0 of a form: a group begins. Bit 1: a message is missing before. Bit 2: it comes once more. Bit 3: it is of
    /// another publisher. Bits 4 and 5: it is the first or the last part of two. Bit 6: see [`Form::is_recording`].
    pub(crate) fn read(messages: impl Iterator<Item = (Form, Vec<u8>)>, mut take: impl FnMut(Entry)) {
        let mut reading = Messages::new(&Selection::default());
        let (mut number, mut run) = (1_u64, 0_u8);
        for (form, payload) in messages {
            run = run.wrapping_add(form.has(3).into());
            number = number.wrapping_add(form.has(1).into()).wrapping_sub(form.has(2).into());
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Bitcointap-Run", run.to_string());
            headers.insert("Bitcointap-Number", number.to_string());
            if form.has(0) {
                headers.insert("Bitcointap-Group", "1");
            }
            for (bit, part) in [(4, "1/2"), (5, "2/2")] {
                if form.has(bit) {
                    headers.insert("Bitcointap-Part", part);
                }
            }
            let message = Message {
                subject: "a.recording".into(),
                reply: None,
                length: payload.len(),
                payload: payload.into(),
                headers: Some(headers),
                status: None,
                description: None,
            };
            number = number.wrapping_add(1);
            reading.put(&message);
            while let Some(entry) = reading.next() {
                entry.into_iter().for_each(&mut take);
            }
            reading.missed();
        }
    }
}
