import unittest

from app import greet


class Greeting(unittest.TestCase):
    def test_escapes(self):
        self.assertEqual(str(greet("<b>")), "<h1>Hello, &lt;b&gt;!</h1>")


if __name__ == "__main__":
    unittest.main()
