#ifndef MAIN_H
#define MAIN_H

/* Says how the program is used, on stderr; returns 2. */
int usage(void);
int write_main(int argc, char **argv);
int read_main(int argc, char **argv);
int check_main(int argc, char **argv);

#endif
