/* lines write: one writer of a stream, with a buffering of its own. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "main.h"
#include "stream.h"

struct writer {
    unsigned id;
    uint32_t lines; /* how many to write; 0: until something fails */
    size_t chunk;   /* bytes a write(2); 0: a line each; 1: random pieces */
    size_t payload_max;
    uint64_t rate_bytes; /* a second; 0: as fast as it goes */
    uint64_t random, started_ns;
    struct ack *ack;
    int fd;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void keep_to_rate(const struct writer *writer)
{
    if (writer->rate_bytes == 0)
        return;
    uint64_t due_ns = writer->started_ns + writer->ack->accepted * 1000000000u / writer->rate_bytes;
    struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000u), .tv_nsec = (long)(due_ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

/* Returns 0 or the errno that stopped it. */
static int put(struct writer *writer, const char *data, size_t length)
{
    while (length > 0) {
        writer->ack->asked = writer->ack->accepted + length;
        ssize_t done = write(writer->fd, data, length);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? errno : EIO;
        writer->ack->accepted += (uint64_t)done;
        data += done;
        length -= (size_t)done;
    }
    keep_to_rate(writer);
    return 0;
}

/* Writes what is due of buffer[0, *held), keeps the rest at its front. */
static int drain(struct writer *writer, char *buffer, size_t *held, bool last)
{
    size_t at = 0;
    int failed = 0;
    while (failed == 0 && at < *held) {
        size_t piece = writer->chunk == 1 ? 1 + stream_random(&writer->random) % 400 : writer->chunk;
        if (piece == 0 || (last && piece > *held - at))
            piece = *held - at;
        if (piece > *held - at)
            break;
        failed = put(writer, buffer + at, piece);
        at += piece;
    }
    memmove(buffer, buffer + at, *held - at);
    *held -= at;
    return failed;
}

static int write_lines(struct writer *writer)
{
    char *buffer = malloc(writer->chunk + 2 * STREAM_LINE_MAX);
    if (buffer == NULL)
        err(111, "memory");
    size_t held = 0;
    int failed = 0;
    for (uint32_t number = 0; failed == 0 && (writer->lines == 0 || number < writer->lines); number++) {
        size_t payload = stream_payload(writer->id, number, writer->payload_max);
        held += stream_line(buffer + held, writer->id, number, payload);
        failed = drain(writer, buffer, &held, number + 1 == writer->lines);
    }
    free(buffer);
    return failed;
}

static size_t chunk_of(const char *word)
{
    return strcmp(word, "line") == 0 ? 0 : strcmp(word, "torn") == 0 ? 1 : strtoul(word, NULL, 10);
}

int write_main(int argc, char **argv)
{
    struct writer writer = {.payload_max = 4096, .started_ns = now_ns()};
    const char *acks = NULL;
    int flags = O_WRONLY | O_APPEND | O_CLOEXEC;
    for (int option; (option = getopt(argc, argv, "w:n:c:m:r:a:s")) != -1;) {
        switch (option) {
        case 'w':
            writer.id = (unsigned)strtoul(optarg, NULL, 10) % STREAM_WRITERS;
            break;
        case 'n':
            writer.lines = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            writer.chunk = chunk_of(optarg);
            break;
        case 'm':
            writer.payload_max = strtoul(optarg, NULL, 10) % (STREAM_PAYLOAD_MAX + 1);
            break;
        case 'r':
            writer.rate_bytes = strtoul(optarg, NULL, 10);
            break;
        case 'a':
            acks = optarg;
            break;
        case 's':
            flags |= O_DSYNC;
            break;
        default:
            return usage();
        }
    }
    if (optind + 1 != argc || acks == NULL)
        return usage();
    writer.random = writer.id;
    writer.ack = ack_map(acks, true) + writer.id;
    writer.ack->payload_max = writer.payload_max;
    writer.fd = open(argv[optind], flags);
    if (writer.fd < 0)
        err(111, "%s", argv[optind]);
    int failed = write_lines(&writer);
    if (failed != 0) {
        printf("%s\n", strerrorname_np(failed));
        return 1;
    }
    writer.ack->asked = writer.ack->accepted;
    return 0;
}
