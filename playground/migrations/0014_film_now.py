from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('playground', '0013_edited_answers'),
    ]

    operations = [
        migrations.AddField(
            model_name='film',
            name='now',
            field=models.BooleanField(default=False),
        ),
    ]
