/* `runner tree ...`: what the sandbox's user can have changed, looked at as a whole. */
#ifndef CAISSON_TREE_H
#define CAISSON_TREE_H

int tree_main(int argc, char **argv);

/* relink.c */
int tree_relink(int count, char **places);

#endif
