//! Compresses the blocks of a group in one stream, so that a block need not repeat what those before it have: hashes, addresses. In: the
//! contents of blocks, in order. Out: what belongs into their frames. And the other way round.
//!
//! A stream begins anew once its contents fill the window, which is how far back a block can refer. Beyond that, zstd would take another
//! path, which is half as fast. So the end of a large group can also be read without all of it.

use std::io;

use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

/// Higher levels take twice the time for a few percent.
const LEVEL: i32 = 2;
/// Looks for repetitions at fewer places: a fifth of the time less, for a twentieth more bytes. What repeats are hashes of 32 bytes, and texts.
const SKIPPED: u32 = 2;
const SHORTEST_REPETITION: u32 = 7;
/// The largest window, as a power of two: 8 MiB. Both sides need as much memory.
pub(super) const LARGEST_WINDOW: u32 = 23;
/// A window for where memory is short: 2 MiB.
#[cfg(any(feature = "http", feature = "nats", test))]
pub(super) const SMALL_WINDOW: u32 = 21;
/// What a flush may add to the bytes of a frame.
const FLUSHED: usize = 64;

pub(super) struct Compressor {
    encoder: Encoder<'static>,
    /// The bytes of a window.
    full: usize,
    /// Bytes of contents in the stream. `None`: the next block begins one.
    contents: Option<usize>,
}

impl Compressor {
    /// With a window of this power of two.
    pub(super) fn new(window: u32) -> io::Result<Self> {
        let mut encoder = Encoder::new(LEVEL)?;
        encoder.set_parameter(CParameter::WindowLog(window))?;
        encoder.set_parameter(CParameter::TargetLength(SKIPPED))?;
        encoder.set_parameter(CParameter::MinMatch(SHORTEST_REPETITION))?;
        Ok(Self { encoder, full: 1 << window, contents: None })
    }

    /// The next block begins a stream.
    pub(super) fn begin(&mut self) {
        self.contents = None;
    }

    /// Appends what belongs into the frame of a block. Says whether it continues a stream.
    pub(super) fn compress(&mut self, contents: &[u8], frame: &mut Vec<u8>) -> io::Result<bool> {
        let before = self.contents.filter(|&before| before + contents.len() <= self.full);
        if before.is_none() {
            self.encoder.reinit()?;
        }
        // If this fails, the next one begins anew.
        self.contents = None;
        frame.reserve(most_compressed(contents.len()));
        let mut input = InBuffer::around(contents);
        while input.pos() < contents.len() {
            self.step(frame, |encoder, output| encoder.run(&mut input, output))?;
        }
        while self.step(frame, |encoder, output| encoder.flush(output))? > 0 {}
        self.contents = Some(before.unwrap_or(0) + contents.len());
        Ok(before.is_some())
    }

    fn step(
        &mut self,
        frame: &mut Vec<u8>,
        step: impl FnOnce(&mut Encoder<'static>, &mut OutBuffer<'_, Vec<u8>>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if frame.len() == frame.capacity() {
            frame.reserve(most_compressed(0));
        }
        let position = frame.len();
        step(&mut self.encoder, &mut OutBuffer::around_pos(frame, position))
    }
}

/// The most bytes of a frame with so many bytes of contents.
pub(super) fn most_compressed(contents: usize) -> usize {
    zstd::zstd_safe::compress_bound(contents) + FLUSHED
}

pub(super) struct Decompressor {
    decoder: Decoder<'static>,
    /// Whether there is a stream that may go on.
    is_within: bool,
}

impl Decompressor {
    pub(super) fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(LARGEST_WINDOW))?;
        Ok(Self { decoder, is_within: false })
    }

    /// Nothing goes on here.
    pub(super) fn end(&mut self) {
        self.is_within = false;
    }

    /// Fills `contents`. `None` if the frame has more or fewer bytes of contents.
    pub(super) fn decompress(&mut self, frame: &[u8], continues: bool, contents: &mut [u8]) -> Option<()> {
        if continues && !std::mem::take(&mut self.is_within) {
            return None;
        }
        if !continues {
            self.decoder.reinit().ok()?;
        }
        self.is_within = false;
        let (mut input, mut output) = (InBuffer::around(frame), OutBuffer::around(contents));
        while (input.pos(), output.pos()) != (frame.len(), output.capacity()) {
            let before = (input.pos(), output.pos());
            self.decoder.run(&mut input, &mut output).ok()?;
            if (input.pos(), output.pos()) == before {
                return None;
            }
        }
        // It may hold back more.
        let mut more = [0];
        let mut beyond = OutBuffer::around(&mut more[..]);
        self.decoder.run(&mut InBuffer::around(&[]), &mut beyond).ok()?;
        self.is_within = beyond.pos() == 0;
        self.is_within.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decompress(decompressor: &mut Decompressor, frame: &[u8], continues: bool, length: usize) -> Option<Vec<u8>> {
        let mut contents = vec![0; length];
        decompressor.decompress(frame, continues, &mut contents).map(|()| contents)
    }

    #[test]
    fn blocks_come_back_and_need_not_repeat_each_other() {
        let (mut compressor, mut decompressor) =
            (Compressor::new(LARGEST_WINDOW).unwrap(), Decompressor::new().unwrap());
        fastrand::seed(7);
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(300_000).collect();
        let (mut began, mut frames, mut all) = (0, 0, 0);
        for number in 0..60 {
            let contents = &noise[number * 100..];
            let mut frame = b"before".to_vec();
            let continues = compressor.compress(contents, &mut frame).unwrap();
            began += u32::from(!continues);
            assert!(frame.len() <= 6 + most_compressed(contents.len()));
            (frames, all) = (frames + frame.len(), all + contents.len());
            assert!(decompress(&mut decompressor, &frame[6..], continues, contents.len()).unwrap() == contents);
        }
        assert_eq!(began, 3, "17 MB fill two windows");
        assert!(frames < all / 10, "{frames} of {all}");
        compressor.begin();
        assert!(!compressor.compress(b"another group", &mut Vec::new()).unwrap());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut compressor = Compressor::new(SMALL_WINDOW).unwrap();
        let [mut first, mut second] = [Vec::new(), Vec::new()];
        assert!(!compressor.compress(&[1; 1000], &mut first).unwrap());
        assert!(compressor.compress(&[2; 1000], &mut second).unwrap());
        let refused = |frames: &[(&[u8], bool, usize)]| {
            let mut decompressor = Decompressor::new().unwrap();
            frames
                .iter()
                .map(|&(frame, continues, length)| decompress(&mut decompressor, frame, continues, length).is_none())
                .collect::<Vec<_>>()
        };
        assert_eq!(refused(&[(&first, false, 1000), (&second, true, 1000)]), [false, false]);
        assert_eq!(refused(&[(&second, true, 1000)]), [true], "nothing goes on");
        assert_eq!(refused(&[(&first, false, 999), (&second, true, 1000)]), [true, true]);
        assert_eq!(refused(&[(&first, false, 1001), (&second, true, 1000)]), [true, true]);
        assert_eq!(refused(&[(&first[..first.len() - 1], false, 1000)]), [true]);
        assert_eq!(refused(&[(b"", false, 1000), (b"noise", false, 5)]), [true, true]);
        let mut larger = Encoder::new(1).unwrap();
        larger.set_parameter(CParameter::WindowLog(LARGEST_WINDOW + 1)).unwrap();
        let mut frame = Vec::with_capacity(4096);
        larger.run(&mut InBuffer::around(&[3; 1000]), &mut OutBuffer::around(&mut frame)).unwrap();
        let position = frame.len();
        larger.flush(&mut OutBuffer::around_pos(&mut frame, position)).unwrap();
        assert_eq!(refused(&[(&frame, false, 1000)]), [true], "it asks for too much memory");
    }
}
