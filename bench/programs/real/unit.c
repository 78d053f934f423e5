/* For the compiler to chew on: no headers, many functions by macros, structures, loops, floating point. */
typedef unsigned long word;
struct node {
  struct node *next, *child[4];
  word key;
  double weight;
};

#define FAMILY(n)                                                                     \
  static word hash_##n(const unsigned char *p, word size) {                           \
    word h = n;                                                                       \
    for (word i = 0; i < size; i++) h = (h ^ p[i]) * (1099511628211ul + n);           \
    return h;                                                                         \
  }                                                                                   \
  struct node *find_##n(struct node *root, word key, int *depth) {                    \
    for (*depth = 0; root && root->key != key; ++*depth)                              \
      root = root->child[(key >> (2 * *depth + n)) & 3];                              \
    return root;                                                                      \
  }                                                                                   \
  double mean_##n(const double *v, int size, struct node *list) {                     \
    double sum = 0, scale = n + 0.5;                                                  \
    for (int i = 0; i < size; i++) sum += v[i] * scale + (i % 3 == n % 3 ? 1 : -1);   \
    for (; list; list = list->next) sum -= list->weight / (sum * sum + 1);            \
    return size > 0 ? sum / size : 0;                                                 \
  }                                                                                   \
  int classify_##n(const unsigned char *text) {                                       \
    int state = 0;                                                                    \
    for (; *text; text++) switch (state) {                                            \
      case 0: state = *text == ' ' ? 0 : *text < 'a' ? 1 : 2; break;                  \
      case 1: state = *text > '9' ? 3 : n & 1; break;                                 \
      case 2: state = *text == '_' ? 2 : *text == '(' ? 4 : 0; break;                 \
      default: state = (state * 5 + *text) % (7 + n % 4); break;                      \
      }                                                                               \
    return state + (int)(hash_##n(text - 1, 1) & 7);                                  \
  }
FAMILY(10) FAMILY(11)
