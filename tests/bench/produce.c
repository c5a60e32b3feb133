/* bench-produce: appends lines to files from several threads, each with its own open file, and tells how long it
 * took. Lines run through the writes as a buffered program's do: a write ends in the middle of a line unless its
 * size is a multiple of the line's.
 *
 * Prints one JSON object: ns, bytes, writes, lines. */
#include "tests/bench/bench.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

enum sync_when { SYNC_NEVER, SYNC_END, SYNC_EACH };

struct plan {
    size_t line_bytes, write_bytes;
    uint64_t bytes; /* each writer's, 0: until the time is over */
    int64_t ns;
    enum sync_when sync;
    const char *data; /* lines, write_bytes + line_bytes of them */
    pthread_barrier_t start;
};

struct writer {
    const struct plan *plan;
    pthread_barrier_t *start;
    int fd;
    uint64_t bytes, writes;
    int64_t began_ns, ended_ns;
    pthread_t thread;
};

static char *lines_new(size_t line_bytes, size_t total)
{
    char *data = malloc(total);
    if (!data)
        bench_fail("memory");
    for (size_t i = 0; i < total; i++)
        data[i] = i % line_bytes == line_bytes - 1 ? '\n' : (char)('a' + (i * 7 + i / line_bytes) % 26);
    return data;
}

static bool enough(const struct writer *writer, int64_t began_ns)
{
    if (writer->plan->bytes)
        return writer->bytes >= writer->plan->bytes;
    return bench_now_ns() - began_ns >= writer->plan->ns;
}

static void *writer_run(void *arg)
{
    struct writer *writer = arg;
    const struct plan *plan = writer->plan;

    pthread_barrier_wait(writer->start);
    writer->began_ns = bench_now_ns();
    while (!enough(writer, writer->began_ns)) {
        ssize_t got = write(writer->fd, plan->data + writer->bytes % plan->line_bytes, plan->write_bytes);
        if (got != (ssize_t)plan->write_bytes)
            bench_fail("write");
        writer->bytes += (uint64_t)got;
        writer->writes++;
        if (plan->sync == SYNC_EACH && fdatasync(writer->fd) < 0)
            bench_fail("fdatasync");
    }
    if (plan->sync == SYNC_END && fdatasync(writer->fd) < 0)
        bench_fail("fdatasync");
    writer->ended_ns = bench_now_ns();
    return NULL;
}

static void report(const struct writer *writers, size_t count, size_t line_bytes)
{
    int64_t began_ns = INT64_MAX, ended_ns = 0;
    uint64_t bytes = 0, writes = 0;
    for (size_t i = 0; i < count; i++) {
        if (writers[i].began_ns < began_ns)
            began_ns = writers[i].began_ns;
        if (writers[i].ended_ns > ended_ns)
            ended_ns = writers[i].ended_ns;
        bytes += writers[i].bytes;
        writes += writers[i].writes;
    }
    printf("{\"ns\": %lld, \"bytes\": %llu, \"writes\": %llu, \"lines\": %llu}\n", (long long)(ended_ns - began_ns),
           (unsigned long long)bytes, (unsigned long long)writes, (unsigned long long)(bytes / line_bytes));
}

static void run(struct plan *plan, size_t count, char **paths, size_t path_count)
{
    struct writer *writers = calloc(count, sizeof *writers);
    if (!writers)
        bench_fail("memory");
    plan->data = lines_new(plan->line_bytes, plan->line_bytes + plan->write_bytes);
    pthread_barrier_init(&plan->start, NULL, (unsigned)count);
    for (size_t i = 0; i < count; i++) {
        const char *path = paths[i % path_count];
        writers[i] = (struct writer){.plan = plan, .start = &plan->start};
        writers[i].fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (writers[i].fd < 0)
            bench_fail(path);
    }
    for (size_t i = 0; i < count; i++)
        if ((errno = pthread_create(&writers[i].thread, NULL, writer_run, &writers[i])))
            bench_fail("thread");
    for (size_t i = 0; i < count; i++)
        pthread_join(writers[i].thread, NULL);
    for (size_t i = 0; i < count; i++)
        close(writers[i].fd);
    report(writers, count, plan->line_bytes);
    free(writers);
    free((void *)(uintptr_t)plan->data);
}

static enum sync_when sync_by_name(const char *name)
{
    if (!strcmp(name, "each"))
        return SYNC_EACH;
    if (!strcmp(name, "end"))
        return SYNC_END;
    fprintf(stderr, "%s: %s: each or end\n", program_invocation_short_name, name);
    exit(2);
}

int main(int argc, char **argv)
{
    static const char usage[] =
        "[-l LINE_BYTES] [-w WRITE_BYTES] [-j WRITERS] [-s each|end] -n BYTES_EACH | -t MILLISECONDS FILE...";
    struct plan plan = {.line_bytes = 100};
    size_t writers = 1;
    int option;

    while ((option = getopt(argc, argv, "l:w:j:s:n:t:")) != -1) {
        switch (option) {
        case 'l':
            plan.line_bytes = bench_number(optarg, 1);
            break;
        case 'w':
            plan.write_bytes = bench_number(optarg, 1);
            break;
        case 'j':
            writers = bench_number(optarg, 1);
            break;
        case 's':
            plan.sync = sync_by_name(optarg);
            break;
        case 'n':
            plan.bytes = bench_number(optarg, 1);
            break;
        case 't':
            plan.ns = (int64_t)bench_number(optarg, 1) * 1000000;
            break;
        default:
            bench_usage(usage);
        }
    }
    if (optind == argc || !plan.bytes == !plan.ns)
        bench_usage(usage);
    if (!plan.write_bytes)
        plan.write_bytes = plan.line_bytes;
    run(&plan, writers, argv + optind, (size_t)(argc - optind));
    return 0;
}
