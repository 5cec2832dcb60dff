/* The file helper: `runner file OPERATION ...`, run as an ordinary action under the sandbox's own limits. */
#ifndef CAISSON_FILES_H
#define CAISSON_FILES_H

int files_main(int argc, char **argv);

#endif
