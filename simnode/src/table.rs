// The tracepoints of Bitcoin Core (doc/tracing.md there). In: nothing. Out: a row for each, to whichever macro
// `tracepoints!` the file is included with: names.rs and probes.rs make Rust's side of it, build/header.rs makes C's.
//
// A row has the first layout with the tracepoint, and the function that fires its parameters, by name, order and type.
// If the arguments that releases fire differ, the row says `differs`, and the function is in probes.c. Texts end with a
// zero byte.

tracepoints! {
    InboundMessage: c"net:inbound_message", since 23,
        inbound_message(peer: i64, address: Text, connection_type: Text, command: Text, size: usize, payload: Bytes);
    OutboundMessage: c"net:outbound_message", since 23,
        outbound_message(peer: i64, address: Text, connection_type: Text, command: Text, size: usize, payload: Bytes);
    // The patched v27 had those of connections before v29 did.
    InboundConnection: c"net:inbound_connection", since 27,
        inbound_connection(peer: i64, address: Text, connection_type: Text, network: u32, existing: usize);
    OutboundConnection: c"net:outbound_connection", since 27,
        outbound_connection(peer: i64, address: Text, connection_type: Text, network: u32, existing: usize);
    // Established in UNIX seconds.
    EvictedInboundConnection: c"net:evicted_inbound_connection", since 27,
        evicted_inbound_connection(peer: i64, address: Text, connection_type: Text, network: u32, established: i64);
    ClosedConnection: c"net:closed_connection", since 27,
        closed_connection(peer: i64, address: Text, connection_type: Text, network: u32, established: i64);
    MisbehavingConnection: c"net:misbehaving_connection", since 27,
        misbehaving_connection(peer: i64, score_before: i32, score_increase: i32, reason: Text, threshold_exceeded: bool),
        differs;
    BlockConnected: c"validation:block_connected", since 23,
        block_connected(hash: Bytes, height: i32, transactions: u64, inputs: i32, sigops: i64, nanoseconds: i64),
        differs;
    UtxocacheFlush: c"utxocache:flush", since 23,
        utxocache_flush(microseconds: i64, mode: u32, coins: u64, bytes: u64, for_prune: bool);
    // Values are in satoshis.
    UtxocacheAdd: c"utxocache:add", since 23,
        utxocache_add(txid: Bytes, output: u32, height: u32, value: i64, coinbase: bool);
    UtxocacheSpent: c"utxocache:spent", since 23,
        utxocache_spent(txid: Bytes, output: u32, height: u32, value: i64, coinbase: bool);
    UtxocacheUncache: c"utxocache:uncache", since 23,
        utxocache_uncache(txid: Bytes, output: u32, height: u32, value: i64, coinbase: bool);
    SelectedCoins: c"coin_selection:selected_coins", since 24,
        selected_coins(wallet: Text, algorithm: Text, target: i64, waste: i64, selected: i64);
    NormalCreateTx: c"coin_selection:normal_create_tx_internal", since 24,
        normal_create_tx(wallet: Text, success: bool, fee: i64, change_position: i32);
    AttemptingAps: c"coin_selection:attempting_aps_create_tx", since 24,
        attempting_aps(wallet: Text);
    ApsCreateTx: c"coin_selection:aps_create_tx_internal", since 24,
        aps_create_tx(wallet: Text, use_aps: bool, success: bool, fee: i64, change_position: i32);
    MempoolAdded: c"mempool:added", since 25,
        mempool_added(txid: Bytes, vbytes: i32, fee: i64), differs;
    // Entry times in UNIX seconds.
    MempoolRemoved: c"mempool:removed", since 25,
        mempool_removed(txid: Bytes, reason: Text, vbytes: i32, fee: i64, entry_time: u64), differs;
    MempoolReplaced: c"mempool:replaced", since 25,
        mempool_replaced(txid: Bytes, vbytes: i32, fee: i64, entry_time: u64, new_id: Bytes, new_vbytes: i32, new_fee: i64,
            new_id_is_txid: bool), differs;
    MempoolRejected: c"mempool:rejected", since 25,
        mempool_rejected(txid: Bytes, reason: Text);
}
