"""Objects, dictionaries, lists, strings and integers in the way that ordinary Python programs use them."""
import sys


class Account:
    def __init__(self, name, amount):
        self.name = name
        self.amount = amount

    def pay(self, other, amount):
        if amount <= self.amount:
            self.amount -= amount
            other.amount += amount
            return True
        return False


def permutations(size):
    """All permutations in turn; the longest chain of reversals that brings 0 to the front."""
    count = list(range(size + 1))
    order = list(range(size))
    longest = 0
    left = size
    while True:
        while left != 1:
            count[left - 1] = left
            left -= 1
        flips, line = 0, order[:]
        while line[0]:
            k = line[0] + 1
            line[:k] = line[k - 1 :: -1]
            flips += 1
        longest = max(longest, flips)
        while True:
            if left == size:
                return longest
            order.insert(left, order.pop(0))
            count[left] -= 1
            if count[left] > 0:
                break
            left += 1


def run(seed):
    state = seed
    accounts = [Account("account %d" % i, 100 + i) for i in range(50)]
    paid = 0
    for _ in range(2000):
        state = (state * 1103515245 + 12345) % 2**31
        paid += accounts[state % 50].pay(accounts[state // 50 % 50], state % 90)
    words = {}
    for i in range(3000):
        state = (state * 1103515245 + 12345) % 2**31
        word = "w" + str(state % 700)
        words[word] = words.get(word, 0) + 1
    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:10]
    text = ",".join("%s=%d" % item for item in ranked)
    return paid, text.upper(), permutations(6), pow(3, state, 10**30 + 57)


for i in range(int(sys.argv[1])):
    print(*run(i))
