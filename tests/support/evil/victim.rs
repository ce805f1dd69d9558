//! The honest side in memory: it is driven as the streams drive it, and what it holds, delivers and sends is noted.

use bytes::{Buf, BytesMut};
use countersign::config::Config;
use countersign::error::{Error, Failure};
use countersign::handshake::{Step, Target, initiate, respond};
use countersign::session::{Event, Progress, Session};

use super::heap::Account;
use super::keys::INITIATOR;
use crate::support::{now, seeded_quietly};

pub struct Victim {
    pub config: Config,
    pub step: Option<Step>,
    pub session: Option<Box<Session>>,
    pub failure: Option<Failure>,
    /// What ended the session.
    pub error: Option<Error>,
    pub delivered: Vec<Vec<u8>>,
    pub ended: bool,
    /// It was told that it is accepted, or has accepted.
    pub complete: bool,
    /// Whether it was asked to sign or to decide about anybody.
    pub asked: usize,
    pub signed: usize,
    pub account: Account,
    /// How many bytes it has read.
    pub fed: usize,
    /// All that it sent.
    pub sent: Vec<u8>,
    input: BytesMut,
    output: BytesMut,
    eager: bool,
    rekeys: bool,
}

impl Victim {
    pub fn new(role: &str, config: &Config, target: Target, eager: bool, rekeys: bool) -> Self {
        let mut rng = seeded_quietly(11);
        let mut output = BytesMut::new();
        let mut account = Account::default();
        let step = account.charge(|| match role == INITIATOR {
            true => initiate(config, target, &mut rng, &mut output),
            false => respond(config, &mut rng),
        });
        Victim {
            config: config.clone(),
            step: Some(step.expect("a good configuration")),
            session: None,
            failure: None,
            error: None,
            delivered: Vec::new(),
            ended: false,
            complete: false,
            asked: 0,
            signed: 0,
            account,
            fed: 0,
            sent: Vec::new(),
            input: BytesMut::new(),
            output,
            eager,
            rekeys,
        }
    }

    /// Whether it has failed.
    pub fn is_over(&self) -> bool {
        self.failure.is_some() || self.error.is_some()
    }

    pub fn take_output(&mut self) -> Vec<u8> {
        let output = self.output.split().to_vec();
        self.sent.extend_from_slice(&output);
        output
    }

    /// Reads in pieces of so many bytes, and nothing more once it is over.
    pub fn feed(&mut self, bytes: &[u8], piece: usize) {
        let mut account = std::mem::take(&mut self.account);
        for piece in bytes.chunks(piece) {
            if self.is_over() {
                break;
            }
            self.fed += piece.len();
            account.charge(|| {
                self.input.extend_from_slice(piece);
                self.go_on();
            });
        }
        self.account = account;
    }

    /// The transport has ended.
    pub fn end(&mut self) {
        if self.is_over() {
            return;
        }
        match self.step.take() {
            Some(Step::NeedInput(need)) => self.failure = Some(need.truncated()),
            Some(step) => panic!("nobody waits for input: {step}"),
            None => {
                if let Err(error) = self.session.as_mut().expect("a session").opener.finish() {
                    self.fail(error);
                }
            }
        }
    }

    fn go_on(&mut self) {
        while let Some(step) = self.step.take() {
            let before = (self.input.len(), step.to_string());
            let next = match step {
                Step::NeedInput(need) => match if self.eager { need.into_eager() } else { Err(need) } {
                    Ok(session) => {
                        self.session = Some(session);
                        break;
                    }
                    Err(need) => need.feed(&mut self.input, &mut self.output),
                },
                Step::VerifyPeer(verify) => {
                    self.asked += 1;
                    let decision = now(self.config.trust().decide(&verify.request(None)));
                    verify.decide(decision, &mut self.output)
                }
                Step::Sign(sign) => {
                    self.signed += 1;
                    let signature = now(self.config.signer().sign(sign.input()));
                    sign.signed(signature, &mut self.output)
                }
                Step::Complete(session) => {
                    self.session = Some(session);
                    self.complete = true;
                    self.speak();
                    break;
                }
            };
            match next {
                Ok(step @ Step::NeedInput(_)) if before == (self.input.len(), step.to_string()) => {
                    self.step = Some(step);
                    return;
                }
                Ok(step) => self.step = Some(step),
                Err(failure) => {
                    self.failure = Some(failure);
                    return;
                }
            }
        }
        self.read();
    }

    /// Two DATA records, after the second of which the evil peer begins.
    fn speak(&mut self) {
        let Session { sealer, shares, .. } = &mut **self.session.as_mut().expect("a session");
        for text in [b"honest data".as_slice(), b"and more of it"] {
            sealer.seal_data([text].into_iter(), &mut self.output).expect("sealed");
            if self.rekeys {
                sealer.rekey(shares, Default::default(), &mut seeded_quietly(12), &mut self.output).expect("a rekey");
                self.rekeys = false;
            }
        }
    }

    fn read(&mut self) {
        while let Some(session) = &mut self.session {
            match session.open(&mut self.input) {
                Ok(Progress::Need(_)) => return,
                Ok(Progress::Record { consumed, event }) => {
                    if let Event::Data(range) = &event {
                        self.delivered.push(self.input[range.clone()].to_vec());
                    }
                    self.input.advance(consumed);
                    self.ended |= event == Event::End;
                    if event == Event::Accepted {
                        self.complete = true;
                        self.speak();
                    }
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    /// As a stream does: an alert, if the error calls for one, and nothing more.
    fn fail(&mut self, error: Error) {
        let session = self.session.as_mut().expect("a session");
        if let Some(alert) = error.alert() {
            let _ = session.sealer.seal_alert(alert, "", &mut self.output);
        }
        session.sealer.poison(error.clone());
        self.error = Some(error);
    }

    /// The error of a session stays, whatever comes, and nothing is sealed any more.
    pub fn check_latched(&mut self) {
        let (Some(session), Some(error)) = (&mut self.session, &self.error) else { return };
        for mut more in [vec![0; 64], vec![0xC5, 0, 0, 17], vec![]] {
            assert_eq!(session.open(&mut more), Err(error.clone()), "the error is not latched");
        }
        assert_eq!(session.opener.check(), Err(error.clone()));
        assert!(!session.opener.is_ended());
        let mut output = BytesMut::new();
        assert!(session.sealer.seal_data([b"x".as_slice()].into_iter(), &mut output).is_err());
        assert!(session.sealer.seal_end(&mut output).is_err());
        assert!(output.is_empty());
    }
}
