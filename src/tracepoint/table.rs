// The tracepoints that Bitcoin Core documents (doc/tracing.md there). In: nothing. Out: one row for each, to whichever macro
// `tracepoints!` the file is included with: src/tracepoint.rs makes types of it, build/kernel_side.rs the numbers of the kernel side.
//
// A row has the name (context:event), the first release that has it, the numbers of arguments with which releases and patched builds
// have it, what its event is about, and the struct of its record. Rows of a context stand together. The place of a
// row is the tracepoint's number in this build only: recordings know it by its name.

tracepoints! {
    /// The node processes a message, which may be later than it arrived.
    NetInboundMessage: "net:inbound_message", since "v23", arguments [6], about MessageToNode, record message_record;
    /// The node queues a message for sending; it may never send it.
    NetOutboundMessage: "net:outbound_message", since "v23", arguments [6], about MessageToPeer, record message_record;
    /// A peer connected to us.
    NetInboundConnection: "net:inbound_connection", since "v29", arguments [5], about InboundConnection, record connection_record;
    /// We connected to a peer.
    NetOutboundConnection: "net:outbound_connection", since "v29", arguments [5], about OutboundConnection, record connection_record;
    /// An inbound connection was chosen to make room for another.
    NetEvictedInboundConnection: "net:evicted_inbound_connection", since "v29", arguments [5], about InboundConnection, record connection_record;
    /// A connection was closed.
    NetClosedConnection: "net:closed_connection", since "v29", arguments [5], about AnyConnection, record connection_record;
    /// A peer broke a rule.
    NetMisbehavingConnection: "net:misbehaving_connection", since "v29", arguments [2, 5], about Peer, record misbehaving_record;
    /// A transaction entered the mempool.
    MempoolAdded: "mempool:added", since "v25", arguments [3], about NoPeer, record added_record;
    /// A transaction left the mempool.
    MempoolRemoved: "mempool:removed", since "v25", arguments [5], about NoPeer, record removed_record;
    /// A transaction in the mempool was replaced.
    MempoolReplaced: "mempool:replaced", since "v25", arguments [7, 8], about NoPeer, record replaced_record;
    /// A transaction was not let into the mempool.
    MempoolRejected: "mempool:rejected", since "v25", arguments [2], about NoPeer, record rejected_record;
    /// A block was connected to the chain.
    ValidationBlockConnected: "validation:block_connected", since "v23", arguments [6], about NoPeer, record block_connected_record;
    /// The UTXO cache was written to disk.
    UtxocacheFlush: "utxocache:flush", since "v23", arguments [5], about NoPeer, record flush_record;
    /// A coin was added to a UTXO cache.
    UtxocacheAdd: "utxocache:add", since "v23", arguments [5], about Coin, record coin_record;
    /// A coin was spent from a UTXO cache.
    UtxocacheSpent: "utxocache:spent", since "v23", arguments [5], about Coin, record coin_record;
    /// A coin was dropped from a UTXO cache on purpose.
    UtxocacheUncache: "utxocache:uncache", since "v23", arguments [5], about Coin, record coin_record;
    /// The wallet's coin selection ended.
    CoinSelectionSelectedCoins: "coin_selection:selected_coins", since "v24", arguments [5], about NoPeer, record selected_coins_record;
    /// The wallet's first attempt to create a transaction ended.
    CoinSelectionNormalCreateTxInternal: "coin_selection:normal_create_tx_internal", since "v24", arguments [4], about NoPeer, record create_tx_record;
    /// The wallet tries again, avoiding partial spends.
    CoinSelectionAttemptingApsCreateTx: "coin_selection:attempting_aps_create_tx", since "v24", arguments [1], about NoPeer, record attempting_aps_record;
    /// The wallet's second attempt ended.
    CoinSelectionApsCreateTxInternal: "coin_selection:aps_create_tx_internal", since "v24", arguments [5], about NoPeer, record create_tx_record;
}
