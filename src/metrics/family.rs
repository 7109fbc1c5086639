//! What a family of metrics is. In: definitions, written with `families!`, and label values as numbers. Out: series in
//! a prometheus registry, present only while a tracepoint that feeds them is attached.

use std::{array, cell::OnceCell, collections::HashSet};
#[cfg(test)]
use std::{borrow::Cow, collections::BTreeMap};

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
    core::{Collector, MetricVec, MetricVecBuilder},
};

use super::labels::{Label, Value};
use crate::tracepoint::{Tracepoint, Tracepoints};

/// The prefix of each family's name.
const PREFIX: &str = "bitcointap";

/// The sources of a family about the exporter itself, which is always present.
pub(super) const ALWAYS: &[Tracepoint] = &[];

/// A family with at most this many lines in `/metrics` starts with all its series at 0. A larger one gains them on
/// first use.
const LINES_FROM_START: usize = 128;

/// Defines families, each once, as `name: type = shape, from tracepoints;`. The doc comment is the help text. The name
/// in `/metrics` is the field's name with the prefix. [`Family::Shape`] of the type says what the shape is. Several
/// lists of tracepoints may follow `from`, separated by commas: the family needs any one tracepoint of each list.
macro_rules! families {
    ($(#[$about:meta])* struct $group:ident with $options:ident {
        $( $(#[doc = $help:literal])+ $name:ident: $family:ty = $shape:expr, from $($sources:expr),+; )+
    }) => {
        $(#[$about])*
        pub(super) struct $group { $( $(#[doc = $help])+ pub(super) $name: $family, )+ }

        impl $group {
            pub(super) fn new($options: &$crate::metrics::Options) -> Self {
                Self { $( $name: $crate::metrics::family::Family::define(
                    stringify!($name), concat!($($help),+).trim(), $shape,
                ), )+ }
            }

            /// Shows those families that these tracepoints feed.
            pub(super) fn attach(
                &mut self,
                attached: $crate::tracepoint::Tracepoints,
                registered: &mut $crate::metrics::family::Registered,
            ) {
                $( registered.update(stringify!($name), &mut self.$name, &[$($sources),+], attached); )+
            }
        }
    };
}
pub(super) use families;

/// A family, whatever its representation.
pub(super) trait Family {
    /// What a definition has besides name and help text.
    type Shape;

    fn define(name: &str, help: &str, shape: Self::Shape) -> Self;

    /// Shows those series that these tracepoints feed.
    fn attach(&mut self, _attached: Tracepoints) {}

    fn collector(&self) -> Box<dyn Collector>;

    /// Its labels with a closed set of values, with these values.
    #[cfg(test)]
    fn closed_labels(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        Vec::new()
    }

    /// The upper bounds of a histogram's buckets, except the last.
    #[cfg(test)]
    fn bounds(&self) -> Option<Vec<f64>> {
        None
    }

    /// The largest number of lines that it can have.
    #[cfg(test)]
    fn lines(&self) -> usize;
}

/// Name and help text as prometheus wants them.
pub(super) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(PREFIX)
}

fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).namespace(PREFIX).buckets(buckets.to_vec())
}

/// Why defining cannot fail: names and labels come from the code, and tests define all of them.
pub(super) const VALID: &str = "the definition of a family is valid";

/// One line for each bound, one for the infinite bucket, the sum and the count.
fn histogram_lines(buckets: &[f64]) -> usize {
    buckets.len() + 3
}

/// The families in the registry.
pub(super) struct Registered {
    registry: Registry,
    names: HashSet<&'static str>,
    /// All families, attached or not.
    #[cfg(test)]
    pub(super) defined: BTreeMap<&'static str, Defined>,
}

/// A family, for tests that compare texts with it.
#[cfg(test)]
pub(super) struct Defined {
    pub(super) collector: Box<dyn Collector>,
    pub(super) closed_labels: Vec<(&'static str, Vec<&'static str>)>,
    pub(super) bounds: Option<Vec<f64>>,
    /// The largest number of lines that it can have in `/metrics`.
    pub(super) lines: usize,
}

#[cfg(test)]
impl Defined {
    fn of(family: &impl Family) -> Self {
        Self {
            collector: family.collector(),
            closed_labels: family.closed_labels(),
            bounds: family.bounds(),
            lines: family.lines(),
        }
    }
}

impl Registered {
    pub(super) fn new(registry: Registry) -> Self {
        Self {
            registry,
            names: HashSet::new(),
            #[cfg(test)]
            defined: BTreeMap::new(),
        }
    }

    /// Registers or unregisters a family. It is registered while one tracepoint of each of its `sources` is attached.
    pub(super) fn update(
        &mut self,
        name: &'static str,
        family: &mut impl Family,
        sources: &[&[Tracepoint]],
        attached: Tracepoints,
    ) {
        family.attach(attached);
        #[cfg(test)]
        self.defined.insert(name, Defined::of(family));
        if sources.iter().all(|any| any.is_empty() || attached.contains_any(any)) {
            if self.names.insert(name) {
                self.registry.register(family.collector()).expect(VALID);
            }
        } else if self.names.remove(name) {
            self.registry.unregister(family.collector()).expect("it is registered");
        }
    }
}

/// Series by `N` labels with closed sets of values. Each is kept once it exists, so that finding one takes an index and
/// no hash.
pub(super) struct Grid<V: Children, const N: usize> {
    vec: V,
    labels: [Label; N],
    series: Box<[OnceCell<V::Child>]>,
    /// All series start at 0.
    from_start: bool,
    #[cfg(test)]
    lines: usize,
    #[cfg(test)]
    bounds: Option<&'static [f64]>,
}

/// Counters by `N` labels. Shape: the labels.
pub(super) type Counters<const N: usize> = Grid<IntCounterVec, N>;
/// Gauges by `N` labels, each absent until it is set. Shape: the labels.
pub(super) type Gauges<const N: usize> = Grid<GaugeVec, N>;
/// Histograms by `N` labels. Shape: the labels, the upper bounds of the buckets.
pub(super) type Histograms<const N: usize> = Grid<HistogramVec, N>;

impl<V: Children, const N: usize> Grid<V, N> {
    fn new(vec: V, labels: [Label; N], bounds: Option<&'static [f64]>, start: bool) -> Self {
        let count = labels.iter().map(|label| label.values.len()).product();
        let lines = count * bounds.map_or(1, histogram_lines);
        let grid = Self {
            vec,
            labels,
            series: (0..count).map(|_| OnceCell::new()).collect(),
            from_start: start && lines <= LINES_FROM_START,
            #[cfg(test)]
            lines,
            #[cfg(test)]
            bounds,
        };
        debug_assert!(grid.are_told_apart());
        grid
    }

    /// The series of these values. Each value is a place among the values of its label.
    pub(super) fn at(&self, values: [usize; N]) -> &V::Child {
        let places = values.iter().zip(&self.labels);
        let index = places.fold(0, |index, (value, label)| index * label.values.len() + value);
        self.series[index].get_or_init(|| self.vec.child(&self.texts(index)))
    }

    /// Removes a series, such as that of a value no longer known.
    pub(super) fn remove(&mut self, index: usize) {
        if self.series[index].take().is_some() {
            self.vec.remove(&self.texts(index));
        }
    }

    /// For threads outside the hot path.
    pub(super) fn vec(&self) -> V {
        self.vec.clone()
    }

    fn values(&self, mut index: usize) -> [usize; N] {
        let mut values = [0; N];
        for (value, label) in values.iter_mut().zip(&self.labels).rev() {
            *value = index % label.values.len();
            index /= label.values.len();
        }
        values
    }

    fn texts(&self, index: usize) -> [&str; N] {
        let values = self.values(index);
        array::from_fn(|label| &*self.labels[label].values[values[label]].text)
    }

    fn is_fed(&self, index: usize, attached: Tracepoints) -> bool {
        self.values_of(index).filter_map(|value| value.source).all(|source| attached.contains(source))
    }

    fn values_of(&self, index: usize) -> impl Iterator<Item = &Value> {
        self.values(index).into_iter().zip(&self.labels).map(|(value, label)| &label.values[value])
    }

    /// prometheus hashes label values without a separator. Two series with the same concatenated values would be one.
    fn are_told_apart(&self) -> bool {
        let texts: HashSet<String> = (0..self.series.len()).map(|index| self.texts(index).concat()).collect();
        texts.len() == self.series.len()
    }

    /// What [`Family::attach`] does.
    fn show(&mut self, attached: Tracepoints) {
        for index in 0..self.series.len() {
            if !self.is_fed(index, attached) {
                self.remove(index);
            } else if self.from_start && self.values_of(index).all(|value| value.from_start) {
                self.at(self.values(index));
            }
        }
    }
}

/// A prometheus vector of metrics.
pub(super) trait Children: Clone + Collector + 'static {
    type Child;

    fn child(&self, values: &[&str]) -> Self::Child;
    fn remove(&self, values: &[&str]);
}

impl<B: MetricVecBuilder + 'static> Children for MetricVec<B> {
    type Child = B::M;

    fn child(&self, values: &[&str]) -> B::M {
        self.with_label_values(values)
    }

    fn remove(&self, values: &[&str]) {
        self.remove_label_values(values).expect("a kept series is there");
    }
}

/// What all grids have in common as families.
macro_rules! grid_as_family {
    () => {
        fn attach(&mut self, attached: Tracepoints) {
            self.show(attached);
        }

        fn collector(&self) -> Box<dyn Collector> {
            Box::new(self.vec())
        }

        #[cfg(test)]
        fn closed_labels(&self) -> Vec<(&'static str, Vec<&'static str>)> {
            // Values that the operator chose are no closed set of the code.
            let closed = |text: &Cow<'static, str>| match *text {
                Cow::Borrowed(text) => Some(text),
                Cow::Owned(_) => None,
            };
            let values =
                |label: &Label| label.values.iter().map(|value| closed(&value.text)).collect::<Option<Vec<_>>>();
            self.labels.iter().filter_map(|label| Some((label.name, values(label)?))).collect()
        }

        #[cfg(test)]
        fn bounds(&self) -> Option<Vec<f64>> {
            self.bounds.map(<[f64]>::to_vec)
        }

        #[cfg(test)]
        fn lines(&self) -> usize {
            self.lines
        }
    };
}

impl<const N: usize> Family for Counters<N> {
    type Shape = [Label; N];

    fn define(name: &str, help: &str, labels: [Label; N]) -> Self {
        let names = labels.each_ref().map(|label| label.name);
        Grid::new(IntCounterVec::new(opts(name, help), &names).expect(VALID), labels, None, true)
    }

    grid_as_family!();
}

impl<const N: usize> Family for Gauges<N> {
    type Shape = [Label; N];

    fn define(name: &str, help: &str, labels: [Label; N]) -> Self {
        let names = labels.each_ref().map(|label| label.name);
        Grid::new(GaugeVec::new(opts(name, help), &names).expect(VALID), labels, None, false)
    }

    grid_as_family!();
}

impl<const N: usize> Family for Histograms<N> {
    type Shape = ([Label; N], &'static [f64]);

    fn define(name: &str, help: &str, (labels, buckets): Self::Shape) -> Self {
        let names = labels.each_ref().map(|label| label.name);
        let vec = HistogramVec::new(histogram_opts(name, help, buckets), &names).expect(VALID);
        Grid::new(vec, labels, Some(buckets), true)
    }

    grid_as_family!();
}

/// Without labels. Shape: nothing.
impl Family for IntCounter {
    type Shape = ();

    fn define(name: &str, help: &str, (): ()) -> Self {
        IntCounter::with_opts(opts(name, help)).expect(VALID)
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }

    #[cfg(test)]
    fn lines(&self) -> usize {
        1
    }
}

/// Without labels, present from the start. Shape: nothing.
impl Family for Gauge {
    type Shape = ();

    fn define(name: &str, help: &str, (): ()) -> Self {
        Gauge::with_opts(opts(name, help)).expect(VALID)
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }

    #[cfg(test)]
    fn lines(&self) -> usize {
        1
    }
}

/// Without labels. Shape: the upper bounds of the buckets.
impl Family for Histogram {
    type Shape = &'static [f64];

    fn define(name: &str, help: &str, buckets: Self::Shape) -> Self {
        Histogram::with_opts(histogram_opts(name, help, buckets)).expect(VALID)
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }

    #[cfg(test)]
    fn bounds(&self) -> Option<Vec<f64>> {
        use prometheus::core::Metric;
        let metric = self.metric();
        Some(metric.get_histogram().get_bucket().iter().map(|bucket| bucket.upper_bound()).collect())
    }

    #[cfg(test)]
    fn lines(&self) -> usize {
        histogram_lines(&self.bounds().expect("it has buckets"))
    }
}
