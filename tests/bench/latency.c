/* bench-latency: how long from just before write(2) of a line until another process, which waits as tail(1) does,
 * has it by read(2); or (-m append) how long that write(2) takes, with nobody waiting.
 *
 * The reader waits for the file to be modified (-m inotify) or for poll(2) to say that there is something to read
 * (-m poll); then it reads until the end of the file. Lines are written at a steady pace, so that each one finds
 * the reader asleep. Prints one JSON object: lines, p50_ns, p99_ns, p999_ns, max_ns. */
#include "tests/bench/bench.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_BYTES = 100, PATIENCE_MS = 10000 };

struct reader {
    int fd, watch; /* watch: an inotify descriptor, or -1 to poll the file */
    char line[LINE_BYTES];
    size_t held;
    int64_t *took_ns;
    size_t lines, wanted;
};

static void line_write(int fd)
{
    char line[LINE_BYTES + 1];
    /* Zero-padded, so that all lines are equally long. */
    snprintf(line, sizeof line, "%099lld\n", (long long)bench_now_ns());
    if (write(fd, line, LINE_BYTES) != LINE_BYTES)
        bench_fail("write");
}

/* took_ns: how long each write took, or NULL. */
static void writer_run(int fd, size_t lines, int64_t interval_ns, int64_t *took_ns)
{
    int64_t next_ns = bench_now_ns();
    for (size_t i = 0; i < lines; i++) {
        next_ns += interval_ns;
        struct timespec until = {next_ns / 1000000000, next_ns % 1000000000};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
        }
        int64_t began_ns = bench_now_ns();
        line_write(fd);
        if (took_ns)
            took_ns[i] = bench_now_ns() - began_ns;
    }
}

static void reader_wait(struct reader *reader)
{
    struct pollfd waiting = {reader->watch >= 0 ? reader->watch : reader->fd, POLLIN, 0};
    char events[4096];
    int ready = poll(&waiting, 1, PATIENCE_MS);
    if (ready == 0) {
        errno = ETIMEDOUT;
        bench_fail("a line that was written never came");
    }
    if (ready < 0)
        bench_fail("poll");
    if (reader->watch >= 0 && read(reader->watch, events, sizeof events) < 0)
        bench_fail("inotify");
}

static void reader_take(struct reader *reader, const char *data, size_t length, int64_t now_ns)
{
    for (size_t i = 0; i < length; i++) {
        reader->line[reader->held++] = data[i];
        if (reader->held < LINE_BYTES)
            continue;
        if (data[i] != '\n' || reader->lines == reader->wanted) {
            fprintf(stderr, "%s: a line arrived that was not written so\n", program_invocation_short_name);
            exit(1);
        }
        reader->took_ns[reader->lines++] = now_ns - strtoll(reader->line, NULL, 10);
        reader->held = 0;
    }
}

/* Reads until the file ends. */
static void reader_drain(struct reader *reader)
{
    char data[65536];
    ssize_t got;
    while ((got = read(reader->fd, data, sizeof data)) > 0)
        reader_take(reader, data, (size_t)got, bench_now_ns());
    if (got < 0)
        bench_fail("read");
}

static int by_value(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void report(struct reader *reader)
{
    size_t lines = reader->lines;
    qsort(reader->took_ns, lines, sizeof *reader->took_ns, by_value);
    printf("{\"lines\": %zu, \"p50_ns\": %lld, \"p99_ns\": %lld, \"p999_ns\": %lld, \"max_ns\": %lld}\n", lines,
           (long long)reader->took_ns[lines / 2], (long long)reader->took_ns[lines - 1 - lines / 100],
           (long long)reader->took_ns[lines - 1 - lines / 1000], (long long)reader->took_ns[lines - 1]);
}

static void reader_open(struct reader *reader, const char *path, bool by_inotify)
{
    reader->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0 || lseek(reader->fd, 0, SEEK_END) < 0)
        bench_fail(path);
    reader->watch = -1;
    if (!by_inotify)
        return;
    reader->watch = inotify_init1(IN_CLOEXEC);
    if (reader->watch < 0 || inotify_add_watch(reader->watch, path, IN_MODIFY) < 0)
        bench_fail(path);
}

/* The reader stands at the end before the writer is born: nothing can be missed. */
static void both_run(struct reader *reader, int out, int64_t interval_ns)
{
    pid_t writer = fork();
    if (writer < 0)
        bench_fail("fork");
    if (writer == 0) {
        writer_run(out, reader->wanted, interval_ns, NULL);
        _exit(0);
    }
    while (reader->lines < reader->wanted) {
        reader_wait(reader);
        reader_drain(reader);
    }
    int status;
    if (waitpid(writer, &status, 0) < 0 || status != 0)
        bench_fail("the writer");
}

int main(int argc, char **argv)
{
    static const char usage[] = "[-m inotify|poll|append] [-n LINES] [-i INTERVAL_US] FILE";
    size_t lines = 1000;
    int64_t interval_ns = 1000000;
    bool by_inotify = false, append = false;
    int option;

    while ((option = getopt(argc, argv, "m:n:i:")) != -1) {
        switch (option) {
        case 'm':
            by_inotify = !strcmp(optarg, "inotify");
            append = !strcmp(optarg, "append");
            if (!by_inotify && !append && strcmp(optarg, "poll") != 0)
                bench_usage(usage);
            break;
        case 'n':
            lines = bench_number(optarg, 1);
            break;
        case 'i':
            interval_ns = (int64_t)bench_number(optarg, 1) * 1000;
            break;
        default:
            bench_usage(usage);
        }
    }
    if (optind != argc - 1)
        bench_usage(usage);
    int out = open(argv[optind], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (out < 0)
        bench_fail(argv[optind]);
    struct reader reader = {.wanted = lines, .took_ns = calloc(lines, sizeof(int64_t))};
    if (!reader.took_ns)
        bench_fail("memory");
    if (append) {
        writer_run(out, lines, interval_ns, reader.took_ns);
        reader.lines = lines;
    } else {
        reader_open(&reader, argv[optind], by_inotify);
        both_run(&reader, out, interval_ns);
    }
    report(&reader);
    free(reader.took_ns);
    return 0;
}
