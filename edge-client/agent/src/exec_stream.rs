//! A command inside a task, at the other end of a stream that a server has opened: input, output, its end.
//!
//! Nothing is buffered beyond one piece per direction: who does not read holds the command up. The command ends with the stream.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use drover_protocol::codec;
use drover_protocol::edge::{ExecInput, ExecOutput, ExecRequest, FromEdge, REQUEST_BYTES_MAX, RpcError};
use drover_protocol::edge_node::EXEC_BYTES_MAX;
use drover_runner::drivers::Session;
use drover_runner::exec::{self, ExecError};
use drover_runner::{AllocHandle, Edge};
use drover_transport::{FrameReceiver, Stream};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Most words of a command.
const WORDS_MAX: usize = 1024;
/// Pieces of output under way.
const OUTPUT_MAX: usize = 2;
/// How long output is still read after the command has ended: what it has left behind may hold the pipes for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The ends of pipes or of a terminal, ours and the command's.
struct Ends {
    stdin: OwnedFd,
    stdout: OwnedFd,
    /// None with a terminal, which has one output.
    stderr: Option<OwnedFd>,
    theirs: [OwnedFd; 3],
}

impl Ends {
    fn pipes() -> Result<Ends, rustix::io::Errno> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let ((read, stdin), (stdout, out), (stderr, err)) = (pipe()?, pipe()?, pipe()?);
        Ok(Ends { stdin, stdout, stderr: Some(stderr), theirs: [read, out, err] })
    }

    fn terminal() -> Result<Ends, rustix::io::Errno> {
        use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let outer = openpt(flags)?;
        grantpt(&outer)?;
        unlockpt(&outer)?;
        let inner = ioctl_tiocgptpeer(&outer, flags)?;
        let copy = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        Ok(Ends { stdin: copy(&outer)?, stdout: outer, stderr: None, theirs: [copy(&inner)?, copy(&inner)?, inner] })
    }
}

/// Runs the command and serves the stream until one of them ends.
pub async fn serve(mut stream: Stream, edge: Arc<Edge>, alloc: Arc<AllocHandle>, asked: ExecRequest) {
    let begun = begin(edge, alloc, asked).await;
    let answer = match &begun {
        Ok(_) => FromEdge::Exec,
        Err(error) => FromEdge::Refused(error.clone()),
    };
    if stream.send_frame(&codec::encode(&answer)).await.is_err() {
        return;
    }
    match begun {
        Ok(running) => running.serve(stream).await,
        Err(_) => stream.finish(),
    }
}

/// A command that runs.
struct Running {
    session: Session,
    stdin: Option<AsyncFd<OwnedFd>>,
    stdout: AsyncFd<OwnedFd>,
    stderr: Option<AsyncFd<OwnedFd>>,
    is_terminal: bool,
}

async fn begin(edge: Arc<Edge>, alloc: Arc<AllocHandle>, asked: ExecRequest) -> Result<Running, RpcError> {
    let failed = |message: String| RpcError::Unavailable { message };
    if asked.command.is_empty() || asked.command.len() > WORDS_MAX {
        return Err(RpcError::Invalid { message: "command is not present".to_owned() });
    }
    let is_terminal = asked.tty;
    let ends = if is_terminal { Ends::terminal() } else { Ends::pipes() };
    let Ends { stdin, stdout, stderr, theirs } = ends.map_err(|errno| failed(format!("make pipes: {errno}")))?;
    let beginning = tokio::task::spawn_blocking(move || {
        let [one, two, three] = &theirs;
        exec::begin(&edge, &alloc, &asked.task, asked.command, is_terminal, [one.as_fd(), two.as_fd(), three.as_fd()])
    });
    let session = match beginning.await {
        Ok(Ok(session)) => session,
        Ok(Err(error @ ExecError::NotRunning(_))) => return Err(RpcError::NotFound { message: error.to_string() }),
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(error) => return Err(failed(error.to_string())),
    };
    let watch = |fd: OwnedFd| watch(fd).map_err(|error| failed(format!("watch a pipe: {error}")));
    Ok(Running {
        session,
        stdin: Some(watch(stdin)?),
        stdout: watch(stdout)?,
        stderr: stderr.map(watch).transpose()?,
        is_terminal,
    })
}

fn watch(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    // SAFETY: the descriptor is open and belongs to the `AsyncFd` alone from here on.
    unsafe { AsyncFd::register(fd) }.map_err(Into::into)
}

impl Running {
    async fn serve(self, stream: Stream) {
        let Running { mut session, mut stdin, stdout, stderr, is_terminal } = self;
        let (mut sender, mut receiver) = stream.split();
        let (output_tx, mut output) = mpsc::channel::<ExecOutput>(OUTPUT_MAX);
        let stopper = session.stopper();
        let mut ended = tokio::task::spawn_blocking(move || session.wait());
        let pumps = async {
            let errors = async {
                if let Some(stderr) = &stderr {
                    pump(stderr, &output_tx, ExecOutput::Stderr, ExecOutput::StderrEnd).await;
                }
            };
            tokio::join!(pump(&stdout, &output_tx, ExecOutput::Stdout, ExecOutput::StdoutEnd), errors);
        };
        let send_all = async {
            tokio::pin!(pumps);
            let (mut is_read, mut exit) = (false, None);
            loop {
                tokio::select! {
                    // Output goes before the end.
                    biased;
                    Some(piece) = output.recv() => {
                        if sender.send_frame(&codec::encode(&piece)).await.is_err() {
                            return;
                        }
                    }
                    () = &mut pumps, if !is_read => is_read = true,
                    result = &mut ended, if exit.is_none() => exit = Some(result),
                    () = tokio::time::sleep(LAST_WORDS), if exit.is_some() && !is_read => is_read = true,
                    // Whoever has asked for it is gone, also where nothing is written that would not arrive.
                    _ = sender.reader_gone() => return,
                }
                if let (true, Some(exit)) = (is_read, &exit) {
                    while let Ok(piece) = output.try_recv() {
                        if sender.send_frame(&codec::encode(&piece)).await.is_err() {
                            return;
                        }
                    }
                    let last = match exit {
                        Ok(Ok((code, _))) => ExecOutput::Exited(*code),
                        _ => ExecOutput::Failed("the command was ended".to_owned()),
                    };
                    if sender.send_frame(&codec::encode(&last)).await.is_ok() {
                        sender.finish();
                    }
                    return;
                }
            }
        };
        let listen = async {
            if listen(&mut receiver, &mut stdin, is_terminal).await.is_none() {
                // Nothing more is said to it; whether the stream is broken, the sender will find out.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = send_all => {}
            () = listen => {}
        }
        // Where it still runs, nobody wants it any more.
        if let Ok(stopper) = stopper {
            stopper.stop();
        }
    }
}

/// Hands input on. None when the other end says no more; something when it is gone.
async fn listen(receiver: &mut FrameReceiver, stdin: &mut Option<AsyncFd<OwnedFd>>, is_terminal: bool) -> Option<()> {
    loop {
        let frame = match receiver.recv_frame(REQUEST_BYTES_MAX).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return None,
            Err(_) => return Some(()),
        };
        match codec::decode::<ExecInput>(&frame) {
            Ok(ExecInput::Stdin(data)) => {
                if let Some(fd) = stdin
                    && write_all(fd, &data).await.is_err()
                {
                    // The command has closed it; what else is typed goes nowhere.
                    *stdin = None;
                }
            }
            Ok(ExecInput::StdinEnd) if is_terminal => {
                // A terminal has no end; this is what a person would type.
                if let Some(fd) = stdin {
                    let _ = write_all(fd, &[4]).await;
                }
            }
            Ok(ExecInput::StdinEnd) => *stdin = None,
            Ok(ExecInput::Size { height, width }) => {
                let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
                if let Some(fd) = stdin.as_ref().filter(|_| is_terminal) {
                    let _ = tcsetwinsize(fd.get_ref(), size);
                }
            }
            Err(_) => return Some(()),
        }
    }
}

/// Reads to the end and says so.
async fn pump(
    fd: &AsyncFd<OwnedFd>,
    output: &mpsc::Sender<ExecOutput>,
    piece: impl Fn(Vec<u8>) -> ExecOutput,
    end: ExecOutput,
) {
    let mut buffer = vec![0; EXEC_BYTES_MAX];
    loop {
        let Ok(mut ready) = fd.readable().await else { break };
        match rustix::io::read(fd.get_ref(), &mut buffer) {
            // A terminal whose command has ended gives an error.
            Ok(0) => break,
            Ok(length) => {
                let data = buffer.get(..length).unwrap_or_default().to_vec();
                if output.send(piece(data)).await.is_err() {
                    return;
                }
            }
            Err(rustix::io::Errno::WOULDBLOCK) => ready.clear_ready(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let _ = output.send(end).await;
}

async fn write_all(fd: &AsyncFd<OwnedFd>, mut data: &[u8]) -> std::io::Result<()> {
    while !data.is_empty() {
        let mut ready = fd.writable().await?;
        match rustix::io::write(fd.get_ref(), data) {
            Ok(length) => data = data.get(length..).unwrap_or_default(),
            Err(rustix::io::Errno::WOULDBLOCK) => ready.clear_ready(),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
