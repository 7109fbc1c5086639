//! Why Bitcoin Core says that it does something, from its sources: of each branch from v23 to v31, and of its master of
//! June 2026. In: the texts that it gives to tracepoints. Out: claims about what labels make of them.

use std::{collections::HashSet, ops::RangeInclusive};

use crate::metrics::{
    free_form::LENGTH,
    testing::{misbehaving, rejected, removed, told_with},
    *,
};

/// Stands for the release after the last.
const MASTER: u8 = 32;

/// Names that differ by more than a number, with the releases that have them.
type Names = [(&'static str, RangeInclusive<u8>)];

/// Reasons of mempool:rejected: what validation.cpp, tx_check.cpp, tx_verify.cpp and the policies give to
/// TxValidationState::Invalid as reject reason. Their debug messages, such as hashes and amounts, are not in the
/// tracepoint.
const REJECTIONS: &Names = &[
    ("TRUC-violation", 28..=MASTER),
    ("bad-cb-length", 23..=MASTER),
    ("bad-txns-fee-outofrange", 23..=MASTER),
    ("bad-txns-in-belowout", 23..=MASTER),
    ("bad-txns-inputs-duplicate", 23..=MASTER),
    ("bad-txns-inputs-missingorspent", 23..=MASTER),
    ("bad-txns-inputvalues-outofrange", 23..=MASTER),
    ("bad-txns-nonstandard-inputs", 23..=MASTER),
    ("bad-txns-oversize", 23..=MASTER),
    ("bad-txns-premature-spend-of-coinbase", 23..=MASTER),
    ("bad-txns-prevout-null", 23..=MASTER),
    ("bad-txns-spends-conflicting-tx", 23..=MASTER),
    ("bad-txns-too-many-sigops", 23..=MASTER),
    ("bad-txns-txouttotal-toolarge", 23..=MASTER),
    ("bad-txns-vin-empty", 23..=MASTER),
    ("bad-txns-vout-empty", 23..=MASTER),
    ("bad-txns-vout-negative", 23..=MASTER),
    ("bad-txns-vout-toolarge", 23..=MASTER),
    ("bad-witness-nonstandard", 23..=MASTER),
    ("bare-multisig", 23..=MASTER),
    ("bip125-replacement-disallowed", 23..=MASTER),
    ("coinbase", 23..=MASTER),
    ("datacarrier", 30..=MASTER),
    ("dust", 23..=MASTER),
    ("insufficient fee", 23..=MASTER),
    ("insufficient fee (including sibling eviction)", 28..=MASTER),
    ("max feerate exceeded", 28..=MASTER),
    ("mempool full", 23..=MASTER),
    ("mempool min fee not met", 23..=MASTER),
    ("min relay fee not met", 23..=MASTER),
    ("missing-ephemeral-spends", 29..=MASTER),
    ("multi-op-return", 23..=29),
    ("non-BIP68-final", 23..=MASTER),
    ("non-final", 23..=MASTER),
    ("replacement-adds-unconfirmed", 23..=30),
    ("replacement-adds-unconfirmed (including sibling eviction)", 28..=30),
    ("replacement-failed", 31..=MASTER),
    ("scriptpubkey", 23..=MASTER),
    ("scriptsig-not-pushonly", 23..=MASTER),
    ("scriptsig-size", 23..=MASTER),
    ("too many potential replacements", 23..=MASTER),
    ("too many potential replacements (including sibling eviction)", 28..=MASTER),
    ("too-large-cluster", 31..=MASTER),
    ("too-long-mempool-chain", 23..=30),
    ("tx-size", 23..=MASTER),
    ("tx-size-small", 23..=MASTER),
    ("txn-already-in-mempool", 23..=MASTER),
    ("txn-already-known", 23..=MASTER),
    ("txn-mempool-conflict", 23..=28),
    ("txn-same-nonwitness-data-in-mempool", 23..=MASTER),
    ("v3-rule-violation", 27..=27),
    ("version", 23..=MASTER),
];

/// Texts before the error of a script, in brackets. A peer can combine each with nearly every error that its release
/// has.
const SCRIPT_FAILURES: &Names = &[
    ("block-script-verify-flag-failed", 30..=MASTER),
    ("mandatory-script-verify-flag-failed", 23..=29),
    ("mempool-script-verify-flag-failed", 30..=MASTER),
    ("non-mandatory-script-verify-flag", 23..=29),
];

/// ScriptErrorString, without that of success.
const SCRIPT_ERRORS: &Names = &[
    ("Attempted to use a disabled opcode", 23..=MASTER),
    ("Data push larger than necessary", 23..=MASTER),
    ("Dummy CHECKMULTISIG argument must be zero", 23..=MASTER),
    ("Empty public key in tapscript", 31..=MASTER),
    ("Invalid OP_IF construction", 23..=MASTER),
    ("Invalid Schnorr signature", 23..=MASTER),
    ("Invalid Schnorr signature hash type", 23..=MASTER),
    ("Invalid Schnorr signature size", 23..=MASTER),
    ("Invalid Taproot control block size", 23..=MASTER),
    ("Locktime requirement not satisfied", 23..=MASTER),
    ("NOPx reserved for soft-fork upgrades", 23..=MASTER),
    ("Negative locktime", 23..=MASTER),
    ("Non-canonical DER signature", 23..=MASTER),
    ("Non-canonical signature: S value is unnecessarily high", 23..=MASTER),
    ("OP_CHECKMULTISIG(VERIFY) is not available in tapscript", 23..=MASTER),
    ("OP_IF/NOTIF argument must be minimal", 23..=MASTER),
    ("OP_IF/NOTIF argument must be minimal in tapscript", 23..=MASTER),
    ("OP_RETURN was encountered", 23..=MASTER),
    ("OP_SUCCESSx reserved for soft-fork upgrades", 23..=MASTER),
    ("Only push operators allowed in signatures", 23..=MASTER),
    ("Opcode missing or not understood", 23..=MASTER),
    ("Operation limit exceeded", 23..=MASTER),
    ("Operation not valid with the current altstack size", 23..=MASTER),
    ("Operation not valid with the current stack size", 23..=MASTER),
    ("Pubkey count negative or limit exceeded", 23..=MASTER),
    ("Public key is neither compressed or uncompressed", 23..=MASTER),
    ("Public key version reserved for soft-fork upgrades", 23..=MASTER),
    ("Push value size limit exceeded", 23..=MASTER),
    ("Script evaluated without error but finished with a false/empty top stack element", 23..=MASTER),
    ("Script failed an OP_CHECKMULTISIGVERIFY operation", 23..=MASTER),
    ("Script failed an OP_CHECKSIGVERIFY operation", 23..=MASTER),
    ("Script failed an OP_EQUALVERIFY operation", 23..=MASTER),
    ("Script failed an OP_NUMEQUALVERIFY operation", 23..=MASTER),
    ("Script failed an OP_VERIFY operation", 23..=MASTER),
    ("Script is too big", 23..=MASTER),
    ("Script number overflowed or is non-minimally encoded", 31..=MASTER),
    ("Signature count negative or greater than pubkey count", 23..=MASTER),
    ("Signature hash type missing or not understood", 23..=MASTER),
    ("Signature is found in scriptCode", 23..=MASTER),
    ("Signature must be zero for failed CHECK(MULTI)SIG operation", 23..=MASTER),
    ("Stack size limit exceeded", 23..=MASTER),
    ("Stack size must be exactly one after execution", 23..=MASTER),
    ("Taproot version reserved for soft-fork upgrades", 23..=MASTER),
    ("Too much signature validation relative to witness weight", 23..=MASTER),
    ("Using OP_CODESEPARATOR in non-witness script", 23..=MASTER),
    ("Using non-compressed keys in segwit", 23..=MASTER),
    ("Witness program has incorrect length", 23..=MASTER),
    ("Witness program hash mismatch", 23..=MASTER),
    ("Witness program was passed an empty witness", 23..=MASTER),
    ("Witness provided for non-witness script", 23..=MASTER),
    ("Witness requires empty scriptSig", 23..=MASTER),
    ("Witness requires only-redeemscript scriptSig", 23..=MASTER),
    ("Witness version reserved for soft-fork upgrades", 23..=MASTER),
    ("unknown error", 23..=MASTER),
];

/// Reasons of net:misbehaving_connection, which the releases since v29 have: what net_processing.cpp gives to
/// Misbehaving, with the numbers and commands that it inserts, and what labels make of it.
const OFFENCES: &[(&str, &str)] = &[
    // A block that breaks consensus; until v29 a transaction, too.
    ("", "none"),
    ("7 non-connecting headers", "N non-connecting headers"),
    ("addr message size = 1001", "addr message size = N"),
    ("addrv2 message size = 1001", "addrv2 message size = N"),
    ("bad filteradd message", "bad filteradd message"),
    ("getblocktxn with out-of-bounds tx indices", "getblocktxn with out-of-bounds tx indices"),
    ("getdata message size = 50001", "getdata message size = N"),
    ("header with invalid proof of work", "header with invalid proof of work"),
    ("headers message size = 2001", "headers message size = N"),
    ("inv message size = 50001", "inv message size = N"),
    ("invalid compact block", "invalid compact block"),
    ("invalid compact block/non-matching block transactions", "invalid compact block/non-matching block transactions"),
    ("invalid header received", "invalid header received"),
    ("invalid header via cmpctblock", "invalid header via cmpctblock"),
    ("invalid sendcmpct announce field", "invalid sendcmpct announce field"),
    ("mutated block", "mutated block"),
    ("non-continuous headers sequence", "non-continuous headers sequence"),
    ("previous compact block reconstruction attempt failed", "previous compact block reconstruction attempt failed"),
    ("too-large bloom filter", "too-large bloom filter"),
];

/// RemovalReasonToString; the same in all of them.
const REMOVALS: [&str; 6] = ["block", "conflict", "expiry", "reorg", "replaced", "sizelimit"];

fn of_release(names: &Names, release: u8) -> impl Iterator<Item = &'static str> {
    names.iter().filter(move |(_, releases)| releases.contains(&release)).map(|&(name, _)| name)
}

fn rejections_of(release: u8) -> Vec<String> {
    let failures = of_release(SCRIPT_FAILURES, release)
        .flat_map(|failure| of_release(SCRIPT_ERRORS, release).map(move |error| format!("{failure} ({error})")));
    of_release(REJECTIONS, release).map(str::to_owned).chain(failures).collect()
}

/// The series of a family with these texts as labels, each 1.
fn ones<'a>(label: &str, values: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<_> = values.into_iter().map(|value| format!("{{{label}=\"{value}\"}} 1")).collect();
    lines.sort();
    lines
}

#[test]
fn each_rejection_of_each_release_has_a_place_and_keeps_its_name() {
    for release in 23..=MASTER {
        let reasons = rejections_of(release);
        assert!(reasons.len() > 100, "v{release}");
        let mut told = told_with(&Options::default());
        for reason in &reasons {
            assert!(reason.len() <= LENGTH, "{reason}");
            told.tell(rejected(reason));
        }
        let found: HashSet<_> = told.family("mempool_rejections_total").unwrap().into_iter().collect();
        assert_eq!(found, ones("reason", reasons.iter().map(String::as_str)).into_iter().collect(), "v{release}");
    }
}

#[test]
fn offences_differ_by_more_than_numbers() {
    let mut told = told_with(&Options::default());
    for &(said, _) in OFFENCES {
        told.tell(misbehaving(said));
    }
    let expected = ones("reason", OFFENCES.iter().map(|&(_, value)| value));
    assert_eq!(told.family("p2p_misbehaving_total").unwrap(), expected);
    // The peer chooses the size.
    for size in 2_001..3_000 {
        told.tell(misbehaving(&format!("headers message size = {size}")));
    }
    let lines = told.family("p2p_misbehaving_total").unwrap();
    assert_eq!(lines.len(), expected.len());
    assert!(lines.contains(&"{reason=\"headers message size = N\"} 1000".to_owned()));
}

#[test]
fn removals_are_a_closed_set() {
    let mut told = told_with(&Options::default());
    for reason in REMOVALS {
        told.tell(removed(reason, 1));
    }
    assert_eq!(told.family("mempool_removals_total").unwrap(), ones("reason", REMOVALS));
}
