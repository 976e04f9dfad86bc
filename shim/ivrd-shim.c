/*
 * ivrd-shim: the program that Asterisk's ExternalIVR() starts for each call.
 *
 * It passes its three descriptors to the ivrd daemon and is gone as soon as a worker has the call.  Until then it is
 * the caller's guardian: whatever goes wrong, it hangs up or leaves to the dialplan, so that nobody sits in silence.
 * The rule here: every wait is under a deadline, nothing is allocated.  ivrd/wire/hello.py describes the messages.
 * Exit status: 0 the call is in good hands (or the caller hung up first), 1 fell back, 2 bad usage (and fell back).
 */
#define _GNU_SOURCE /* O_DIRECT and F_GETPIPE_SZ */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define USAGE "ivrd-shim [--socket=PATH] [--timeout=SECONDS] [--fallback=hangup|exit] APP [ARG...]"

enum {
    MAX_ARGS = 32, MAX_HELLO = 16384, MAX_REPLY = 512, MAX_WAIT_S = 3600,
    MAX_LINE = 900,    /* Asterisk takes 1,023 bytes as a line, and the rest as the next command */
    RETRY_MS = 10,     /* before the second try to reach a daemon that is just starting; doubled up to the next */
    RETRY_MOST_MS = 160, /* for many may be waiting, and it is they who would keep it from starting */
    MARGIN_MS = 500,   /* beyond the wait that the daemon named, for it to say itself how that ended */
    LOG_MS = 1000,     /* for the line in Asterisk's log: the caller comes first */
    COMMAND_MS = 5000, /* for the commands that send the caller on */
    DRAIN_MS = 10000,  /* for Asterisk to carry them out and close */
};

/* The command line, the hello made of it, and how and why the shim falls back. */
struct call {
    struct sockaddr_un daemon;
    long long timeout_ms;
    const char *app;
    char hello[MAX_HELLO];
    size_t hello_size;
    bool leave; /* fall back into the dialplan instead of hanging up */
    char status[32], why[MAX_LINE];
};

enum verdict { REFUSED = false, TAKEN, LOST };

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Wait until the descriptor can be read, or until then. */
static bool readable(int fd, long long until)
{
    long long ms = until - now_ms();
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, ms > 0 ? (int)ms : 0) > 0;
}

/* Note why the shim has to fall back. */
__attribute__((format(printf, 2, 3))) static enum verdict refuse(struct call *call, const char *why, ...)
{
    va_list values;
    va_start(values, why);
    int size = snprintf(call->why, sizeof call->why, "app %.99s: ", call->app);
    vsnprintf(call->why + size, sizeof call->why - (size_t)size, why, values);
    va_end(values);
    return REFUSED;
}

/* Flags belong to the open file and so to its next holder: right for Asterisk's pipes, wrong for a terminal. */
static void add_flag_to_pipe(int fd, int flag)
{
    if (fcntl(fd, F_GETPIPE_SZ) > 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | flag);
}

/* Read the command line into the hello.  A bad option does not stop it, so that --fallback counts in any case. */
static bool read_command_line(struct call *call, int argc, char **argv)
{
    bool good = true;
    int at = 1;
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        double seconds;
        char more;
        if (sscanf(argv[at], "--timeout=%lf%c", &seconds, &more) == 1 && seconds >= 0.001 && seconds <= MAX_WAIT_S)
            call->timeout_ms = (long long)(seconds * 1000);
        else if (strncmp(argv[at], "--socket=", 9) == 0 && strlen(argv[at] + 9) < sizeof call->daemon.sun_path)
            strcpy(call->daemon.sun_path, argv[at] + 9);
        else if (strcmp(argv[at], "--fallback=hangup") == 0 || strcmp(argv[at], "--fallback=exit") == 0)
            call->leave = argv[at][11] == 'e';
        else
            good = refuse(call, "%s is no option, or its value is out of range; usage: %s", argv[at], USAGE);
    }
    if (!good || at == argc || argv[at][0] == '\0')
        return good && refuse(call, "no app named; usage: %s", USAGE);
    call->app = argv[at];
    if (argc - at - 1 > MAX_ARGS)
        return refuse(call, "%d arguments, but at most %d are allowed", argc - at - 1, MAX_ARGS);
    call->hello_size = (size_t)snprintf(call->hello, MAX_HELLO, "ivrd1%c%s%c%lld%c", 0,
        call->leave ? "exit" : "hangup", 0, call->timeout_ms, 0);
    for (; at < argc; at++) {
        size_t size = strlen(argv[at]) + 1;
        if (size > MAX_HELLO - call->hello_size)
            return refuse(call, "the arguments exceed %d bytes", MAX_HELLO);
        memcpy(call->hello + call->hello_size, argv[at], size);
        call->hello_size += size;
    }
    return true;
}

/* Connect, and send the hello and the three descriptors in one message.  Returns the socket, or the negative error. */
static int reach_daemon(struct call *call, long long until)
{
    static const int stdio[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    _Alignas(struct cmsghdr) char rights[CMSG_SPACE(sizeof stdio)] = {0};
    struct iovec data = {.iov_base = call->hello, .iov_len = call->hello_size};
    struct msghdr hello = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = rights, .msg_controllen = sizeof rights};
    *CMSG_FIRSTHDR(&hello) = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof stdio)};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&hello)), stdio, sizeof stdio);
    /* A full backlog blocks connect(), so it gets the deadline too; at least 1 ms, for 0 would mean for ever. */
    long long ms = until > now_ms() ? until - now_ms() : 1;
    struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    /* A daemon that has closed already may have said why: that is read as if the hello had arrived. */
    if (connect(sock, (const struct sockaddr *)&call->daemon, sizeof call->daemon) == 0
        && (sendmsg(sock, &hello, MSG_NOSIGNAL) >= 0 || errno == EPIPE || errno == ECONNRESET))
        return sock;
    int error = errno;
    close(sock);
    return -error;
}

/* Listen to the daemon until it says how the call goes on. */
static enum verdict await_answer(struct call *call, int sock, long long until)
{
    for (bool queued = false, late = false;;) {
        if (!readable(sock, until)) {
            /* Now the daemon's sends fail, so it knows that the shim took over; what it sent before still counts. */
            shutdown(sock, SHUT_RDWR);
            late = true;
        }
        char reply[MAX_REPLY + 1], action[8];
        int wait_ms, end = 0;
        ssize_t size = recv(sock, reply, MAX_REPLY, MSG_DONTWAIT | MSG_TRUNC);
        if (size < 0 && errno == ECONNRESET)
            continue; /* said once, before the messages that were sent earlier */
        if (size <= 0 && !queued && !late) /* it died or was restarted before it took note of the call: try again */
            return refuse(call, "the daemon closed without an answer"), LOST;
        if (size <= 0)
            return refuse(call, late ? "%s in time" : "%s went away while the call was queued",
                late && queued ? "no worker took the call" : late ? "the daemon did not answer" : "the daemon");
        reply[size <= MAX_REPLY ? size : 0] = '\0';
        if (strcmp(reply, "started") == 0 || strcmp(reply, "ended") == 0)
            return TAKEN;
        if (sscanf(reply, "queued %7d%n", &wait_ms, &end) == 1 && reply[end] == '\0' && wait_ms >= 0) {
            until = now_ms() + wait_ms + MARGIN_MS;
            queued = true;
            continue;
        }
        if (sscanf(reply, "refused %31[A-Z_] %7s %n", call->status, action, &end) != 2)
            return refuse(call, "the daemon's answer makes no sense: is it of this version?");
        call->leave = strcmp(action, "exit") == 0 || (call->leave && strcmp(action, "hangup") != 0);
        return refuse(call, "%s", reply + end);
    }
}

/* Hand the call over.  A daemon that is just (re)starting is tried again until the time-out. */
static enum verdict hand_over(struct call *call, long long until)
{
    strcpy(call->status, "UNAVAILABLE");
    for (int pause_ms = RETRY_MS;; pause_ms = pause_ms < RETRY_MOST_MS ? 2 * pause_ms : pause_ms) {
        int sock = reach_daemon(call, until);
        bool starting = sock == -ENOENT || sock == -ECONNREFUSED || sock == -EAGAIN || sock == -ETOOMANYREFS;
        enum verdict verdict = sock >= 0 ? await_answer(call, sock, until) : starting ? LOST : REFUSED;
        if (sock >= 0)
            close(sock);
        else
            refuse(call, "cannot reach a daemon at %s (%s)", call->daemon.sun_path, strerror(-sock));
        if (verdict != LOST || now_ms() >= until)
            return verdict;
        poll(NULL, 0, pause_ms);
    }
}

/* Throw away what Asterisk sent; false at its end. */
static bool drain(void)
{
    char events[4096];
    ssize_t size = read(STDIN_FILENO, events, sizeof events);
    return size > 0 || (size < 0 && errno == EAGAIN);
}

/* Write one line in one write(), for Asterisk stops a channel at half a line. */
static void say(int fd, long long until, const char *tag, const char *text)
{
    char line[MAX_LINE + 1];
    snprintf(line, MAX_LINE, "%s%s", tag, text);
    size_t size = strlen(line);
    for (size_t at = 0; at < size; at++)
        line[at] = line[at] >= ' ' && line[at] <= '~' ? line[at] : '?';
    line[size++] = '\n';
    /* Asterisk also stops while its events are not read, and then does not read either: they are drained meanwhile. */
    struct pollfd ends[2] = {{.fd = fd, .events = POLLOUT}, {.fd = STDIN_FILENO, .events = POLLIN}};
    for (long long ms; (ms = until - now_ms()) > 0 && poll(ends, 2, (int)ms) > 0;) {
        if (ends[0].revents && (write(fd, line, size) >= 0 || errno != EAGAIN))
            return;
        if (ends[1].revents && !drain())
            ends[1].fd = -1;
    }
}

/* Send the caller on, and hold stdout and stderr until Asterisk has read it: at their end it hangs up at once. */
static void fall_back(const struct call *call)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        add_flag_to_pipe(fd, O_NONBLOCK);
    const char *what = call->leave ? "ivrd-shim: leaving to the dialplan: " : "ivrd-shim: hanging up: ";
    say(STDERR_FILENO, now_ms() + LOG_MS, what, call->why);
    long long until = now_ms() + COMMAND_MS;
    say(STDOUT_FILENO, until, "V,IVRD_STATUS=", call->status);
    say(STDOUT_FILENO, until, call->leave ? "E,ivrd: " : "H,ivrd: ", call->why);
    for (until = now_ms() + DRAIN_MS; readable(STDIN_FILENO, until) && drain();)
        continue;
}

int main(int argc, char **argv)
{
    long long start = now_ms();
    static struct call call = {{AF_UNIX, "/run/ivrd/ivrd.sock"}, .timeout_ms = 2000, .app = "?", .status = "ERROR"};
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return say(STDOUT_FILENO, start + LOG_MS, "usage: ", USAGE), 0;
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return say(STDOUT_FILENO, start + LOG_MS, "ivrd-shim ", IVRD_VERSION), 0;
    /* Packet mode: each of Asterisk's reads returns one write, so that no command waits unseen for the next. */
    add_flag_to_pipe(STDOUT_FILENO, O_DIRECT);
    add_flag_to_pipe(STDERR_FILENO, O_DIRECT);
    bool good = read_command_line(&call, argc, argv);
    if (good && hand_over(&call, start + call.timeout_ms) == TAKEN)
        return 0;
    fall_back(&call);
    return good ? 1 : 2;
}
