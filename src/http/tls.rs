//! TLS of the HTTP server. In: what the web configuration asks for, and the files that it names. Out: a configuration
//! of rustls, which says which clients to let in.

use std::{net::IpAddr, path::Path, sync::Arc, time::SystemTime};

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, InconsistentKeys, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use x509_cert::{
    Certificate,
    der::Decode,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::{
    config::{ClientAuth, Source, Tls},
    material::{self, Unfit},
};
use crate::files;

/// How many lines the log has about useless certificates; a file of authorities can have hundreds.
const DOUBTS_TOLD: usize = 5;

/// The bytes of the files in a configuration.
pub(super) struct Material {
    pub(super) certificates: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) client_authorities: Option<Vec<u8>>,
}

impl Source {
    fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File { key, path } => {
                files::read_small(path).map_err(|error| format!("{key}: cannot read {}: {error}", path.display()))
            }
            Self::Inline { text, .. } => Ok(text.clone().into_bytes()),
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Inline { .. } => None,
        }
    }

    /// For an error: the key in the configuration, and the file if there is one.
    fn place(&self) -> String {
        match self {
            Self::File { key, path } => format!("{key}: {}", path.display()),
            Self::Inline { key, .. } => (*key).to_owned(),
        }
    }
}

impl Tls {
    /// Reads the files as they are now.
    pub(super) fn read(&self) -> Result<Material, String> {
        Ok(Material {
            certificates: self.certificates.read()?,
            key: self.key.read()?,
            client_authorities: self.client_authorities.as_ref().map(Source::read).transpose()?,
        })
    }

    pub(super) fn server_config(&self, material: &Material) -> Result<Arc<ServerConfig>, String> {
        let certificates = certificates(&self.certificates, &material.certificates)?;
        // Without what the parser says, since that may quote the key.
        let key = PrivateKeyDer::from_pem_slice(&material.key)
            .map_err(|_| material::no_key(&self.key.place(), self.key.path(), &material.key))?;
        let mut provider = ring::default_provider();
        provider.cipher_suites.clone_from(&self.cipher_suites);
        provider.kx_groups.clone_from(&self.key_exchanges);
        let provider = Arc::new(provider);
        let certified = self.certified(certificates, key, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| format!("tls_server_config: {error}"))?;
        let builder = match self.client_verifier(material, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ignore_client_order = self.prefers_own_suites;
        // No session outlives its connection, so that each connection is judged by the files at that time.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// A certificate and its key, as far as rustls can tell.
    fn certified(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, String> {
        let signing = provider.key_provider.load_private_key(key.clone_key());
        let signing = signing.map_err(|_| material::unsupported_key(&self.key.place(), &key))?;
        let certified = CertifiedKey::new(chain, Arc::clone(&signing));
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
            Err(error) => {
                let is_of_key = |certificate: &CertificateDer<'_>| {
                    CertifiedKey::new(vec![certificate.clone().into_owned()], Arc::clone(&signing)).keys_match().is_ok()
                };
                let places = [&*self.certificates.place(), &*self.key.place()];
                Err(material::unusable_certificate(places, &certified.cert, is_of_key, &error))
            }
        }
    }

    /// Logs warnings of certificates that are served or trusted, but may be useless.
    pub(super) fn warn(&self, material: &Material) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (own, authorities) = (&self.certificates, self.client_authorities.as_ref());
        let own_doubts = certificates(own, &material.certificates)
            .ok()
            .and_then(|chain| chain.first().and_then(|first| material::doubts_of_server(&own.place(), first, now)));
        let trusted = authorities.zip(material.client_authorities.as_deref());
        let doubts_of_trusted = trusted.into_iter().flat_map(|(source, pem)| {
            let certificates = certificates(source, pem).unwrap_or_default();
            certificates.iter().filter_map(|it| material::doubts_of_authority(&source.place(), it)).collect::<Vec<_>>()
        });
        for doubt in own_doubts.into_iter().chain(doubts_of_trusted).take(DOUBTS_TOLD) {
            tracing::warn!("{doubt}");
        }
    }

    fn client_verifier(
        &self,
        material: &Material,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
        if self.client_auth == ClientAuth::NoClientCert {
            return Ok(None);
        }
        let mut chains = None;
        if let (Some(source), Some(pem)) = (&self.client_authorities, &material.client_authorities) {
            let mut roots = RootCertStore::empty();
            for (place, certificate) in certificates(source, pem)?.into_iter().enumerate() {
                roots.add(certificate).map_err(|error| {
                    format!("{} has a certificate that cannot be read, in place {}: {error}", source.place(), place + 1)
                })?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
            chains = Some(builder.build().map_err(|error| format!("{}: {error}", source.place()))?);
        }
        Ok(Some(Arc::new(Clients {
            chains,
            // A client with a required name must present a certificate.
            required: self.client_auth.requires() || self.allowed_names.is_some(),
            allowed_names: self.allowed_names.clone(),
            provider,
        })))
    }
}

fn certificates(source: &Source, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = || material::no_certificate(&source.place(), source.path(), pem);
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| wrong())?;
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

/// Which client certificates to accept. That a client holds the key of its certificate is always verified.
#[derive(Debug)]
struct Clients {
    /// Verifies who signed them, if that matters.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    required: bool,
    allowed_names: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.as_ref().map_or(&[], |chains| chains.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chains) = &self.chains {
            chains.verify_client_cert(end_entity, intermediates, now).map_err(|error| explained(error, end_entity))?;
        }
        if let Some(allowed) = &self.allowed_names {
            let names = names(end_entity).ok_or(CertificateError::BadEncoding)?;
            if !names.iter().any(|name| allowed.contains(name)) {
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
            .map_err(|error| explained(error, certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
            .map_err(|error| explained(error, certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a client's certificate is refused, where rustls has no word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwelcome {
    #[error("it is of X.509 version 1 or 2")]
    Old,
    #[error("it is an authority's own")]
    Authority,
}

impl From<Unwelcome> for Error {
    fn from(why: Unwelcome) -> Self {
        CertificateError::Other(OtherError(Arc::new(why))).into()
    }
}

fn explained(error: Error, certificate: &CertificateDer<'_>) -> Error {
    match (&error, Unfit::of(certificate)) {
        (Error::InvalidCertificate(CertificateError::Other(_)), Some(Unfit::Old)) => Unwelcome::Old.into(),
        (Error::InvalidCertificate(CertificateError::Other(_)), Some(Unfit::Authority)) => Unwelcome::Authority.into(),
        _ => error,
    }
}

/// The subject's alternative names: of DNS, e-mail, IP addresses and URIs. `None` if the certificate cannot be read.
fn names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let Some((_, names)) = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()? else {
        return Some(Vec::new());
    };
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) | GeneralName::UniformResourceIdentifier(name) => {
            Some(name.to_string())
        }
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let address = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            address.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        GeneralName::OtherName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::RegisteredId(_) => None,
    };
    Some(names.0.iter().filter_map(text).collect())
}
