/* bench-consume: reads files from front to end and tells how long it took, or takes them out of the page cache.
 *
 * Prints one JSON object: ns, bytes, reads. With -e it prints nothing. */
#include "tests/bench/bench.h"
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

struct total {
    uint64_t bytes, reads;
};

static void consume(const char *path, char *buffer, size_t buffer_bytes, struct total *total)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        bench_fail(path);
    ssize_t got;
    while ((got = read(fd, buffer, buffer_bytes)) > 0) {
        total->bytes += (uint64_t)got;
        total->reads++;
    }
    if (got < 0)
        bench_fail(path);
    close(fd);
}

/* Only clean pages leave, and none that a process has mapped: the caller stops the daemon first. */
static void evict(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fdatasync(fd) < 0 || (errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)))
        bench_fail(path);
    close(fd);
}

int main(int argc, char **argv)
{
    static const char usage[] = "[-b BUFFER_BYTES] [-e] FILE...";
    size_t buffer_bytes = 131072;
    bool evicting = false;
    int option;

    while ((option = getopt(argc, argv, "b:e")) != -1) {
        switch (option) {
        case 'b':
            buffer_bytes = bench_number(optarg, 1);
            break;
        case 'e':
            evicting = true;
            break;
        default:
            bench_usage(usage);
        }
    }
    if (optind == argc)
        bench_usage(usage);
    if (evicting) {
        for (int i = optind; i < argc; i++)
            evict(argv[i]);
        return 0;
    }
    char *buffer = malloc(buffer_bytes);
    if (!buffer)
        bench_fail("memory");
    memset(buffer, 0, buffer_bytes); /* its page faults are not what is measured */
    struct total total = {0};
    int64_t began_ns = bench_now_ns();
    for (int i = optind; i < argc; i++)
        consume(argv[i], buffer, buffer_bytes, &total);
    printf("{\"ns\": %lld, \"bytes\": %llu, \"reads\": %llu}\n", (long long)(bench_now_ns() - began_ns),
           (unsigned long long)total.bytes, (unsigned long long)total.reads);
    free(buffer);
    return 0;
}
