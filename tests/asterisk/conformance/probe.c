/*
 * An ExternalIVR program that does what a scenario says and writes down what comes of it.
 *
 *   probe DIRECTORY/in/NAME [ARG...]     reads the scenario there, writes DIRECTORY/out/NAME
 *
 * One step a line; \n \t \\ and \xHH are escapes:
 *   packet        stdout and stderr in packet mode: one write is one read of Asterisk's
 *   > TEXT        write TEXT and a newline to stdout with one write(2)
 *   raw TEXT      the same without the newline
 *   err TEXT      a line to stderr        errraw TEXT    the same without the newline
 *   many N TEXT   N times `> TEXT`
 *   wait MS       go on reading events for so long
 *   until TAG     read until the next event that begins with TAG comes, 6 s at most
 *   deaf MS       read nothing for so long
 *   die MS        after so long, exit if a write is held up then
 *   close N       close descriptor N
 *   pipe N BYTES  let the pipe behind descriptor N hold so much, as where a user has too many of them
 *   nonblock N    write to N without waiting: where there is no room, room is waited for
 *   hold MS       a child holds copies of stdout and stderr for so long, then exits
 *   exit          stop here, at once
 * After the last step it reads to the end of its stdin. The record has a line for each event, "MILLISECONDS EVENT", the
 * time counted from the start, and "MILLISECONDS eof" for the end. It appears whole, under its name, when it is done.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENTS = 8192, MAX_INPUT = 4 << 20, GIVE_UP_MS = 20000, UNTIL_MS = 6000 };

static char input[MAX_INPUT];  /* everything that came on stdin */
static size_t input_size, line_start;
static struct { double ms; size_t start, size; } events[MAX_EVENTS];
static size_t event_count, events_passed;
static double eof_ms = -1;
static char record[4096];

static double now_ms(void)
{
    static struct timespec start;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!start.tv_sec)
        start = now;
    return (double)(now.tv_sec - start.tv_sec) * 1e3 + (double)(now.tv_nsec - start.tv_nsec) / 1e6;
}

static void die(const char *what)
{
    fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void read_events(void)
{
    ssize_t size = read(0, input + input_size, MAX_INPUT - input_size);
    double ms = now_ms();

    if (size <= 0) {
        eof_ms = ms;
        return;
    }
    for (input_size += (size_t)size; line_start < input_size && event_count < MAX_EVENTS;) {
        char *end = memchr(input + line_start, '\n', input_size - line_start);
        if (!end)
            return;
        events[event_count].ms = ms;
        events[event_count].start = line_start;
        events[event_count].size = (size_t)(end - input) - line_start;
        line_start += events[event_count++].size + 1;
    }
}

/* Whether an event that begins with the tag has come since the last one that was waited for. */
static int seen(const char *tag)
{
    while (events_passed < event_count) {
        size_t event = events_passed++;
        if (strlen(tag) <= events[event].size && !memcmp(input + events[event].start, tag, strlen(tag)))
            return 1;
    }
    return 0;
}

/* Read events until that moment, until the tag is seen, or to the end. */
static void listen_until(double until, const char *tag)
{
    struct pollfd stdin_poll = { .fd = 0, .events = POLLIN };

    while (eof_ms < 0 && !(tag && seen(tag))) {
        double left = until - now_ms();
        if (left <= 0)
            return;
        if (poll(&stdin_poll, 1, (int)left + 1) > 0)
            read_events();
    }
}

static void save(const char *path)
{
    char part[4096 + 8];
    FILE *file;

    snprintf(part, sizeof part, "%s.part", path);
    if (!(file = fopen(part, "w")))
        die(part);
    for (size_t event = 0; event < event_count; event++) {
        fprintf(file, "%.2f ", events[event].ms);
        fwrite(input + events[event].start, 1, events[event].size, file);
        fputc('\n', file);
    }
    if (eof_ms >= 0)
        fprintf(file, "%.2f eof\n", eof_ms);
    if (fclose(file) || rename(part, path))
        die(path);
}

static size_t unescape(char *text)
{
    char *to = text;

    for (char *from = text; *from; from++) {
        if (*from != '\\') {
            *to++ = *from;
            continue;
        }
        switch (*++from) {
        case 'n': *to++ = '\n'; break;
        case 't': *to++ = '\t'; break;
        case 'x': {
            char hex[3] = { from[1], from[2], 0 };
            *to++ = (char)strtol(hex, NULL, 16);
            from += 2;
            break;
        }
        default: *to++ = *from;
        }
    }
    *to = 0;
    return (size_t)(to - text);
}

static void put(int fd, char *text, const char *end, long times)
{
    size_t size = unescape(text);

    memcpy(text + size, end, strlen(end));  /* an escape or the line's own newline left room */
    for (size += strlen(end); times > 0 && eof_ms < 0; times--) {
        ssize_t written;
        while ((written = write(fd, text, size)) < 0 && errno == EAGAIN)
            poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
        if (written == (ssize_t)size || errno == EPIPE)
            continue;
        if (errno != EINTR)
            die("write");
        save(record);
        _exit(0);
    }
}

static void hold(long ms)
{
    pid_t child = fork();

    if (child < 0)
        die("fork");
    if (!child) {
        close(0);  /* Asterisk would not notice whether this end is open; but it is not what this is about */
        poll(NULL, 0, (int)ms);
        _exit(0);
    }
}

static void on_alarm(int number)
{
    (void)number;
}

static int is(char *line, const char *word, char **rest)
{
    size_t size = strlen(word);

    if (strncmp(line, word, size) || (line[size] && line[size] != ' '))
        return 0;
    *rest = line + size + (line[size] != 0);
    return 1;
}

static void step(char *line)
{
    char *rest;

    if (is(line, "packet", &rest)) {
        fcntl(1, F_SETFL, O_DIRECT);
        fcntl(2, F_SETFL, O_DIRECT);
    } else if (is(line, ">", &rest)) {
        put(1, rest, "\n", 1);
    } else if (is(line, "raw", &rest)) {
        put(1, rest, "", 1);
    } else if (is(line, "err", &rest)) {
        put(2, rest, "\n", 1);
    } else if (is(line, "errraw", &rest)) {
        put(2, rest, "", 1);
    } else if (is(line, "many", &rest)) {
        char *text;
        long times = strtol(rest, &text, 10);
        put(1, text + 1, "\n", times);
    } else if (is(line, "wait", &rest)) {
        listen_until(now_ms() + atof(rest), NULL);
    } else if (is(line, "until", &rest)) {
        listen_until(now_ms() + UNTIL_MS, rest);
    } else if (is(line, "deaf", &rest)) {
        poll(NULL, 0, atoi(rest));
    } else if (is(line, "die", &rest)) {
        struct itimerval timer = { .it_value = { atoi(rest) / 1000, atoi(rest) % 1000 * 1000 } };
        sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_alarm }, NULL);
        setitimer(ITIMER_REAL, &timer, NULL);
    } else if (is(line, "close", &rest)) {
        close(atoi(rest));
    } else if (is(line, "pipe", &rest)) {
        char *bytes;
        long fd = strtol(rest, &bytes, 10);
        if (fcntl((int)fd, F_SETPIPE_SZ, atoi(bytes)) < 0)
            die("pipe");
    } else if (is(line, "nonblock", &rest)) {
        fcntl(atoi(rest), F_SETFL, fcntl(atoi(rest), F_GETFL) | O_NONBLOCK);
    } else if (is(line, "hold", &rest)) {
        hold(atol(rest));
    } else if (is(line, "exit", &rest)) {
        save(record);
        _exit(0);
    } else if (*line) {
        fprintf(stderr, "probe: no such step: %s\n", line);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static char scenario[1 << 20];
    char *in, *line, *next = scenario;
    FILE *file;

    now_ms();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);  /* nobody waits for a child that holds copies */
    if (argc < 2 || strlen(argv[1]) >= sizeof record || !(in = strstr(strcpy(record, argv[1]), "/in/"))) {
        fprintf(stderr, "usage: probe DIRECTORY/in/NAME [ARG...]\n");
        return 2;
    }
    memmove(in + 5, in + 4, strlen(in + 4) + 1);
    memcpy(in, "/out/", 5);
    if (!(file = fopen(argv[1], "r")))
        die(argv[1]);
    scenario[fread(scenario, 1, sizeof scenario - 2, file)] = 0;
    fclose(file);
    while ((line = strsep(&next, "\n")) && eof_ms < 0)
        step(line);
    listen_until(now_ms() + GIVE_UP_MS, NULL);
    save(record);
    return 0;
}
