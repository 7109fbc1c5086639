//! `export`. In: events of a node or a recording. Out: metrics, streams of events and a live page over HTTP, and JSON lines.

use std::sync::{Arc, Mutex};

use bitcointap::{
    flight_recorder::Recorder,
    follow::IDLE_INTERVAL,
    http::{self, Freshness, Readiness, Site, Streams},
    live::Live,
    metrics::{self, Metrics},
    output::Outputs,
    privileges,
    redact::Redactor,
    tap::{Options, Payloads},
    tracepoint::Tracepoints,
};

use super::new_file::warn_of_commands;
use crate::{
    address_lists,
    arguments::{ExportArgs, NamedOutput},
    dump,
    reload::{self, Changes},
    result::Result,
    signals::{self, Received},
    source::Source,
};

/// `export`: metrics, streams of events and a live page over HTTP, and JSON lines if wanted.
pub fn export(args: &ExportArgs) -> Result<()> {
    // First open what takes file descriptors. Then do everything else that can fail. Attaching comes last.
    let listeners = args.listeners()?;
    let named = args.outputs();
    let open = |output: &NamedOutput| Ok((output.clone(), output.open()?));
    let opened = named.iter().map(open).collect::<Result<Vec<_>>>()?;
    named.iter().for_each(|output| warn_of_commands(&output.selection));
    let options = args.options();
    let redactor = args.redact.redactor()?;
    let redacts_addresses = redactor.as_ref().is_some_and(Redactor::redacts_addresses);
    let source = Source::open(&args.replay, &args.subscribe, &args.node, &options, true, args.drop_capabilities())?;
    let stop = signals::stop_after(None)?;
    let (hangups, requests) = (Received::hangups()?, Received::requests()?);
    // Without capabilities, since the threads that will read these files again have none.
    let (gate, address_lists) = privileges::without_any(|| (args.gate(), address_lists::read(&args.address_lists)))?;
    let (gate, address_lists) = (gate?, address_lists?);
    if source.taps() {
        privileges::check()?;
    }

    let streams = (args.max_streams > 0).then_some("http");
    let &ExportArgs { max_free_form_values, tx_response, utxocache_coins, .. } = args;
    let json_sinks = named.iter().map(|output| &*output.name).chain(streams).map(String::from).collect();
    let chosen = metrics::Options { json_sinks, max_free_form_values, tx_response, utxocache_coins, address_lists };
    let mut metrics = Metrics::new(Tracepoints::default(), &chosen);
    let (changes, (lists_read, outputs_changed)) = Changes::channels();
    metrics.replace_lists_by(lists_read);
    let (recorder, freshness) = (Recorder::default(), Freshness::new()?);
    reload::at_hangups(hangups, args, recorder.clone(), changes)?;
    dump::at_requests(requests, recorder.clone(), freshness.clone())?;
    let live = (!args.disable_live_page).then(|| {
        Arc::new(Mutex::new(Live::new(options.selection.tracepoints(), args.hide_addresses).of(source.origin())))
    });
    let site = site(args, &options, source.taps(), redacts_addresses, &metrics, live.clone());
    let site = site.with_freshness(freshness).with_recorder(recorder.clone());
    let server = http::serve(listeners, gate, site)?;

    // Metrics have no addresses, but tell which are on lists.
    let mut outputs = Outputs::default().redacted_by(redactor).with_unredacted(metrics);
    outputs = live.into_iter().fold(outputs, Outputs::with);
    for (named, opened) in opened {
        // A recording waits for slow outputs; a node does not.
        let waited_for = source.replays().then_some(&stop);
        outputs = outputs.with_boxed(named.start(opened, false, waited_for, &recorder)?);
    }
    let mut outputs = outputs.with(server).changed_by(outputs_changed);
    let result = source.feed(&stop, &mut outputs);
    // If no next run is followed, clients can still scrape and see the last one.
    outputs.over();
    while result.is_ok() && !stop.wait(IDLE_INTERVAL) {
        outputs.idle();
    }
    outputs.finish(&stop).and(result)
}

/// The site that is served.
fn site(
    args: &ExportArgs,
    options: &Options,
    taps: bool,
    redacts_addresses: bool,
    metrics: &Metrics,
    live: Option<Arc<Mutex<Live>>>,
) -> Site {
    let streams = if args.hide_addresses {
        Streams::hiding_addresses()
    } else {
        Streams::new(options.sent(), args.max_streams.into())
    };
    // Only payloads of a node can become whole later.
    let streams = match options.payloads {
        Payloads::Limited(_) if taps => streams.with_limited_payloads(),
        Payloads::Limited(_) | Payloads::Whole | Payloads::None => streams,
    };
    let streams = if redacts_addresses { streams.without_address_conditions() } else { streams };
    let path = args.telemetry_path.clone();
    let (registry, requests) = (metrics.registry(), metrics.http_requests());
    let site = Site::new(path, registry, requests, Readiness::default(), streams, args.max_requests);
    live.into_iter().fold(site, Site::with_live_page)
}
