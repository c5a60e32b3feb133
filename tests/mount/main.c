/* lines: writes and reads streams of self-describing lines, for tests on a real mount. */
#include "main.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

int usage(void)
{
    fputs("usage: lines write -w WRITER -a ACKS [-n LINES] [-c line|torn|BYTES] [-m PAYLOAD] [-r RATE] [-s] FILE\n"
          "       lines read -a ACKS -t HOW:BYTES... FILE     (until stdin ends and all is read)\n"
          "       lines check [-a ACKS] FILE\n",
          stderr);
    return 2;
}

int check_main(int argc, char **argv)
{
    const char *acks = NULL;
    for (int option; (option = getopt(argc, argv, "a:")) != -1;) {
        if (option != 'a')
            return usage();
        acks = optarg;
    }
    if (optind + 1 != argc)
        return usage();
    int fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) != 0)
        err(111, "%s", argv[optind]);
    char *data = malloc((size_t)stat.st_size + 1);
    size_t length = 0;
    ssize_t got = 1;
    while (data != NULL && got > 0) {
        got = read(fd, data + length, (size_t)stat.st_size + 1 - length);
        if (got < 0)
            err(111, "%s", argv[optind]);
        length += (size_t)got;
    }
    if (length != (size_t)stat.st_size)
        errx(1, "%s: %zu bytes were read, the size is %lld", argv[optind], length, (long long)stat.st_size);
    bool good = check_log(data, length, ack_map(acks, false));
    free(data);
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage();
    if (strcmp(argv[1], "write") == 0)
        return write_main(argc - 1, argv + 1);
    if (strcmp(argv[1], "read") == 0)
        return read_main(argc - 1, argv + 1);
    if (strcmp(argv[1], "check") == 0)
        return check_main(argc - 1, argv + 1);
    return usage();
}
