//! The options of NATS servers and logins, which are the same for publishing and for reading.

/// Defines them with a prefix, as `--nats.creds`. `$urls` is the id of the option that names servers.
macro_rules! server_args {
    ($name:ident, $prefix:literal, $urls:literal) => {
        #[derive(Clone, Debug, clap::Args)]
        pub struct $name {
            /// Log in with the credentials in FILE, as nsc makes them.
            #[arg(hide_short_help = true, id = concat!($prefix, "-creds"), long = concat!($prefix, ".creds"), value_name = "FILE", requires = $urls, value_hint = clap::ValueHint::FilePath, group = concat!($prefix, "-identity"))]
            credentials: Option<std::path::PathBuf>,
            /// Log in with the seed of an NKey in FILE.
            #[arg(hide_short_help = true, id = concat!($prefix, "-nkey"), long = concat!($prefix, ".nkey"), value_name = "FILE", requires = $urls, value_hint = clap::ValueHint::FilePath, group = concat!($prefix, "-identity"))]
            nkey: Option<std::path::PathBuf>,
            /// Log in with the line USER:PASSWORD in FILE.
            #[arg(hide_short_help = true, id = concat!($prefix, "-user"), long = concat!($prefix, ".user-file"), value_name = "FILE", requires = $urls, value_hint = clap::ValueHint::FilePath, group = concat!($prefix, "-identity"))]
            user: Option<std::path::PathBuf>,
            /// Log in with the token in FILE.
            #[arg(hide_short_help = true, id = concat!($prefix, "-token"), long = concat!($prefix, ".token-file"), value_name = "FILE", requires = $urls, value_hint = clap::ValueHint::FilePath, group = concat!($prefix, "-identity"))]
            token: Option<std::path::PathBuf>,
            /// Trust the authorities in FILE (PEM), besides those of the system.
            #[arg(hide_short_help = true, id = concat!($prefix, "-ca"), long = concat!($prefix, ".tls-ca"), value_name = "FILE", requires = $urls, value_hint = clap::ValueHint::FilePath)]
            authorities: Option<std::path::PathBuf>,
            /// Show the server the certificate in FILE (PEM).
            #[arg(hide_short_help = true, id = concat!($prefix, "-cert"), long = concat!($prefix, ".tls-cert"), value_name = "FILE", requires_all = [$urls, concat!($prefix, "-key")], value_hint = clap::ValueHint::FilePath)]
            certificate: Option<std::path::PathBuf>,
            /// The key of that certificate.
            #[arg(hide_short_help = true, id = concat!($prefix, "-key"), long = concat!($prefix, ".tls-key"), value_name = "FILE", requires_all = [$urls, concat!($prefix, "-cert")], value_hint = clap::ValueHint::FilePath)]
            key: Option<std::path::PathBuf>,
        }

        impl $name {
            /// These servers, and as whom to connect.
            pub(super) fn server(&self, urls: &[String]) -> Result<bitcointap::nats::Server, String> {
                use bitcointap::nats::Identity;
                let files = [
                    (&self.credentials, Identity::Credentials as fn(std::path::PathBuf) -> Identity),
                    (&self.nkey, Identity::Nkey),
                    (&self.user, Identity::User),
                    (&self.token, Identity::Token),
                ];
                let mut server = bitcointap::nats::Server::new(urls.iter().map(String::as_str))?;
                let given = files.into_iter().find_map(|(file, identity)| Some(identity(file.clone()?)));
                server.identity = given.unwrap_or_default();
                let certificate = self.certificate.clone().zip(self.key.clone());
                server.tls = bitcointap::nats::TlsFiles { authorities: self.authorities.clone(), certificate };
                Ok(server)
            }
        }
    };
}
pub(super) use server_args;

/// The form of a server's URL.
pub(super) fn url(text: &str) -> Result<String, String> {
    bitcointap::nats::Server::new([text]).map(|_| text.to_owned())
}

/// The form of a prefix of subjects.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    bitcointap::nats::Subjects::new(text, None).map(|_| text.to_owned())
}
