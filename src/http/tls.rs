//! TLS of the HTTP server. In: what the web configuration asks for, and the files that it names. Out: a configuration of
//! rustls, which says whom to let in.

use std::{net::IpAddr, sync::Arc};

use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_cert::{
    Certificate,
    der::Decode,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::{
    config::{ClientAuth, Source, Tls},
    files,
};

/// The bytes of what a configuration names.
pub(super) struct Material {
    pub(super) certificates: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) client_authorities: Option<Vec<u8>>,
}

impl Source {
    fn key(&self) -> &'static str {
        match self {
            Self::File { key, .. } | Self::Inline { key, .. } => key,
        }
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File { key, path } => {
                files::read(path).map_err(|error| format!("{key}: cannot read {}: {error}", path.display()))
            }
            Self::Inline { text, .. } => Ok(text.clone().into_bytes()),
        }
    }

    /// For an error: the key, and the file if there is one.
    fn place(&self) -> String {
        match self {
            Self::File { key, path } => format!("{key}: {}", path.display()),
            Self::Inline { key, .. } => (*key).to_owned(),
        }
    }
}

impl Tls {
    /// Reads what it names, as it is now.
    pub(super) fn read(&self) -> Result<Material, String> {
        Ok(Material {
            certificates: self.certificates.read()?,
            key: self.key.read()?,
            client_authorities: self.client_authorities.as_ref().map(Source::read).transpose()?,
        })
    }

    pub(super) fn server_config(&self, material: &Material) -> Result<Arc<ServerConfig>, String> {
        let certificates = certificates(&self.certificates, &material.certificates)?;
        // Without what the parser says, as that may quote the key.
        let key = PrivateKeyDer::from_pem_slice(&material.key).map_err(|_| {
            format!("{} has no private key as PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)", self.key.place())
        })?;
        let mut provider = ring::default_provider();
        provider.cipher_suites.clone_from(&self.cipher_suites);
        provider.kx_groups.clone_from(&self.key_exchanges);
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| format!("tls_server_config: {error}"))?;
        let builder = match self.client_verifier(material, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| {
            format!("tls_server_config: {} and {} do not go together: {error}", self.certificates.key(), self.key.key())
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ignore_client_order = self.prefers_own_suites;
        // No session outlives its connection, so that each one is judged by what the files say then.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
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
            for certificate in certificates(source, pem)? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("{} has a wrong certificate: {error}", source.place()))?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
            chains = Some(builder.build().map_err(|error| format!("{}: {error}", source.place()))?);
        }
        Ok(Some(Arc::new(Clients {
            chains,
            // Who is to be named must show a certificate.
            required: self.client_auth.requires() || self.allowed_names.is_some(),
            allowed_names: self.allowed_names.clone(),
            provider,
        })))
    }
}

fn certificates(source: &Source, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = || format!("{} has no certificate as PEM, or a broken one", source.place());
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| wrong())?;
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

/// Which clients' certificates are taken. That a client holds the key of its certificate is always verified.
#[derive(Debug)]
struct Clients {
    /// Verifies by whom they are signed, if that matters.
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
            chains.verify_client_cert(end_entity, intermediates, now)?;
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
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
