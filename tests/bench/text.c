/* bench-text: lines as a web service's access log has them, to standard output, each run the same: what sealing is
 * measured with, as lines of one repeated pattern compress like nothing that people log.
 *
 * With -d each line is one write(2) and made durable before the next. */
#include "tests/bench/bench.h"
#include <stdbool.h>
#include <unistd.h>

enum { CLIENTS = 4000, PATHS = 600, AGENTS = 24, BLOCK_BYTES = 65536, LINE_MAX_BYTES = 512 };

static uint64_t state = 88172645463325252;

/* xorshift64 (Marsaglia 2003) */
static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* A number below `count`, small ones more often, as with everything that people choose. */
static unsigned skewed(unsigned count)
{
    double share = (double)(next() >> 11) / (double)(UINT64_C(1) << 53);
    return (unsigned)(share * share * share * count);
}

/* Any number's own, always the same. */
static uint32_t mixed(uint32_t number)
{
    number = (number ^ number >> 16) * 0x45d9f3bu;
    number = (number ^ number >> 16) * 0x45d9f3bu;
    return number ^ number >> 16;
}

static int line_make(char *to, uint64_t ms)
{
    static const char *const methods[] = {"GET", "GET", "GET", "GET", "GET", "POST", "POST", "HEAD", "PUT", "DELETE"};
    static const char *const kinds[] = {"orders", "customers",  "products",     "cart",
                                        "search", "static/img", "api/v2/prices"};
    static const char *const systems[] = {"X11; Linux x86_64", "Windows NT 10.0; Win64; x64",
                                          "Macintosh; Intel Mac OS X 10_15_7",
                                          "iPhone; CPU iPhone OS 17_2 like Mac OS X"};
    static const unsigned codes[] = {200, 200, 200, 200, 200, 200, 200, 304, 304, 301, 404, 403, 500};
    uint32_t client = mixed(skewed(CLIENTS)), path = mixed(skewed(PATHS) + CLIENTS), agent = skewed(AGENTS);
    unsigned long long seconds = ms / 1000;
    char referer[64] = "-";
    if (next() % 3 == 0)
        snprintf(referer, sizeof referer, "https://shop.example/%s/%u", kinds[path % 7], path % 9973);
    return snprintf(
        to, LINE_MAX_BYTES,
        "%u.%u.%u.%u - - [22/Nov/2026:%02llu:%02llu:%02llu +0000] \"%s /%s/%u?session=%08llx HTTP/1.1\" %u %llu \"%s\" "
        "\"Mozilla/5.0 (%s) AppleWebKit/537.36 Chrome/%u.0.%u.0\" rt=0.%03u\n",
        client >> 24, client >> 16 & 255, client >> 8 & 255, client & 255, seconds / 3600 % 24, seconds / 60 % 60,
        seconds % 60, methods[next() % 10], kinds[path % 7], path % 9973, (unsigned long long)mixed(skewed(50000)),
        codes[next() % 13], (unsigned long long)(next() % 13 ? path % 48000 : next() % 90000), referer,
        systems[agent % 4], 100 + agent, mixed(agent) % 7000, skewed(1000));
}

static void write_all(const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t got = write(STDOUT_FILENO, data, bytes);
        if (got < 0)
            bench_fail("write");
        data += got;
        bytes -= (size_t)got;
    }
}

int main(int argc, char **argv)
{
    static char block[BLOCK_BYTES + LINE_MAX_BYTES];
    uint64_t bytes = 1 << 20, made = 0, ms = 0;
    bool durable = false;
    size_t held = 0;
    int option;

    while ((option = getopt(argc, argv, "n:d")) != -1) {
        if (option == 'n')
            bytes = bench_number(optarg, 1);
        else if (option == 'd')
            durable = true;
        else
            bench_usage("[-n BYTES] [-d]");
    }
    if (optind != argc)
        bench_usage("[-n BYTES] [-d]");
    while (made < bytes) {
        ms += skewed(40);
        size_t length = (size_t)line_make(block + held, ms);
        held += length;
        made += length;
        if (!durable && held < BLOCK_BYTES && made < bytes)
            continue;
        write_all(block, held);
        held = 0;
        if (durable && fdatasync(STDOUT_FILENO) < 0)
            bench_fail("fdatasync");
    }
    return 0;
}
